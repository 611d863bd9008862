import copy
import itertools
import math

import pytest
import torch

from bnlib.lab import SmallCNN, entropy, with_entropy_steps, with_statistics_of
from bnlib.layers import BatchNorm, freeze


@pytest.fixture
def model():
    return SmallCNN(BatchNorm).eval()


@pytest.fixture
def images():
    return torch.rand(12, 1, 28, 28) + 0.5


def unchanged(a, b, but=()):
    return [name for name, v in a.state_dict().items() if not torch.equal(v, b.state_dict()[name])] == list(
        but
    )


def test_the_statistics_become_those_of_the_images_and_nothing_else_moves(model, images):
    before = copy.deepcopy(model)
    adapted = with_statistics_of(model, images)
    norms = [f"hidden.{i}.norm.running_{name}" for i in (0, 1) for name in ("mean", "var")]
    assert unchanged(adapted, before, but=norms)
    assert unchanged(model, before)
    maps = model.hidden[0].linear(images)
    torch.testing.assert_close(adapted.hidden[0].norm.running_mean, maps.mean(dim=(0, 2, 3)))


def test_the_entropy_is_zero_when_sure_and_log_k_when_not():
    assert entropy(torch.tensor([[1000.0, 0, 0]])).item() == pytest.approx(0)
    assert entropy(torch.zeros(2, 5)).item() == pytest.approx(math.log(5))


def test_entropy_steps_move_gamma_and_beta_alone_and_make_surer(model, images):
    before = copy.deepcopy(model)
    adapted, scores = with_entropy_steps(model, [images] * 20, learning_rate=1e-2)
    norms = [f"hidden.{i}.norm.{name}" for i in (0, 1) for name in ("weight", "bias")]
    assert unchanged(adapted, before, but=norms)
    assert unchanged(model, before)
    answers = scores.split(len(images))
    torch.testing.assert_close(answers[0], copy.deepcopy(before).train()(images))
    assert all(entropy(b) < entropy(a) for a, b in itertools.pairwise(answers))
    first, last = (entropy(with_statistics_of(m, images)(images)) for m in (model, adapted))
    assert last < first - 0.05
    assert not adapted.training


def test_one_step_is_adams_on_the_entropy_of_the_batchs_own_statistics(model, images):
    twin = copy.deepcopy(model).train()
    entropy(twin(images)).backward()
    adapted, _ = with_entropy_steps(model, [images], learning_rate=1e-3)
    for block, other in zip(adapted.hidden, twin.hidden, strict=True):
        # Adam's first step is the sign of the gradient
        step = other.norm.weight - 1e-3 * other.norm.weight.grad.sign()
        torch.testing.assert_close(block.norm.weight, step, rtol=0, atol=1e-5)


def test_what_was_frozen_is_frozen_afterwards_and_what_was_not_is_not(model, images):
    model.hidden[0].linear.requires_grad_(False), model.hidden[1].norm.bias.requires_grad_(False)
    adapted, _ = with_entropy_steps(model, [images])
    flags, before = ([p.requires_grad for p in m.parameters()] for m in (adapted, model))
    assert flags == before


def test_batches_may_be_tuples_that_start_with_the_images(model, images):
    alone, with_labels = (
        with_entropy_steps(model, batches) for batches in ([images], [(images, torch.zeros(12))])
    )
    assert unchanged(with_labels[0], alone[0])
    torch.testing.assert_close(with_labels[1], alone[1], rtol=0, atol=0)


def test_frozen_norms_stay_as_they_are(model, images):
    model.hidden[0].norm = freeze(model.hidden[0].norm)
    adapted, _ = with_entropy_steps(model, [images] * 2, learning_rate=1e-2)
    assert unchanged(adapted, model, but=["hidden.1.norm.weight", "hidden.1.norm.bias"])


def test_without_a_batch_there_is_nothing_to_adapt_to(model):
    with pytest.raises(ValueError, match=r"at least one batch \(got none\)"):
        with_entropy_steps(model, [])


def test_a_model_without_norms_is_refused(images):
    with pytest.raises(ValueError, match="batch norms"):
        with_statistics_of(SmallCNN(), images)
    with pytest.raises(ValueError, match="a gamma and a beta"):
        with_entropy_steps(SmallCNN(lambda c: BatchNorm(c, affine=False)), [images])
    with pytest.raises(ValueError, match="that use the batch's statistics"):
        with_entropy_steps(freeze(SmallCNN(BatchNorm)), [images])
