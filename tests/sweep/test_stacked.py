"""Stacked training is the plain loop's, model by model."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnlib.lab import NoisyBatchNorm, PaperNetwork, SmallCNN, accuracy, minibatches, train
from bnlib.layers import BatchNorm
from bnlib.sweep import SmallCNNSetting, train_stacked
from bnlib.sweep.catalogue import COUSINS
from bnlib.sweep.engine import OPTIMIZERS

SEEDS = [0, 4, 5]
WIDTHS = (12, 9, 8, 5)
STEPS = 30


def draw(n, seed, shape=(12,)):
    """Five classes off the center, in float64."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (n,), generator=generator)
    noise = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    return noise + labels.view(-1, *(1,) * len(shape)) / 2, labels


def networks(norm, **options):
    return [PaperNetwork(norm, widths=WIDTHS, std=0.3, seed=seed, **options).double() for seed in SEEDS]


MODELS = {
    "plain": lambda: networks(None),
    "ours": lambda: networks(BatchNorm),
    "torch's": lambda: networks(nn.BatchNorm1d),
    "after": lambda: networks(BatchNorm, norm_after=True),
    "ReLU": lambda: networks(BatchNorm, activation=nn.ReLU),
    "noisy": lambda: networks(NoisyBatchNorm),
    "plain average": lambda: networks(lambda n: BatchNorm(n, momentum=None)),
}


def plain_loop(model, sets, seed, decays=None, learning_rate=0.2, steps=STEPS, optimizer=torch.optim.SGD):
    """Autograd and torch's optimizer; the losses."""
    (images, labels), _ = sets
    groups = [{"params": [p], "weight_decay": (decays or {}).get(n, 0)} for n, p in model.named_parameters()]
    optimizer = optimizer(groups, lr=learning_rate)
    batches = minibatches(len(images), 10, torch.Generator().manual_seed(seed))
    losses = []
    for _ in range(steps):
        batch = next(batches)
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def stacked(models, sets, **options):
    options = {"seeds": SEEDS, "look_steps": [0, 7, STEPS], "batch_size": 10, "learning_rate": 0.2} | options
    return train_stacked(models, *sets, **options)


@pytest.fixture(scope="module")
def sets():
    return draw(73, seed=1), draw(40, seed=2)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("decays", [None, {"hidden.0.linear.weight": 0.1, "output.weight": 0.05}])
def test_every_step_is_that_of_the_plain_loop(kind, decays, sets):
    models, twins = MODELS[kind](), MODELS[kind]()
    histories = stacked(models, sets, weight_decay=decays)
    for model, twin, history, seed in zip(models, twins, histories, SEEDS, strict=True):
        losses = plain_loop(twin, sets, seed, decays)
        np.testing.assert_allclose(history.loss, losses, rtol=1e-10)
        torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=1e-10, atol=1e-10)
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-12)
        assert history.accuracy[-1] == accuracy(twin, *sets[1])


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_other_optimizers_step_as_they_do_alone(name, sets):
    optimizer, models, twins = OPTIMIZERS[name], MODELS["ours"](), MODELS["ours"]()
    histories = stacked(models, sets, optimizer=optimizer, learning_rate=0.01)
    for twin, history, seed in zip(twins, histories, SEEDS, strict=True):
        losses = plain_loop(twin, sets, seed, learning_rate=0.01, optimizer=optimizer)
        np.testing.assert_allclose(history.loss, losses, rtol=1e-9)
    assert not np.allclose(losses, plain_loop(MODELS["ours"]()[-1], sets, SEEDS[-1], learning_rate=0.01))


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_each_model_may_have_its_own_learning_rate(name, sets):
    optimizer, models, twins = OPTIMIZERS[name], MODELS["ours"](), MODELS["ours"]()
    decays, rates = {"hidden.0.linear.weight": 0.1}, [0.001, 0.02, 0.3]
    histories = stacked(models, sets, optimizer=optimizer, learning_rate=rates, weight_decay=decays)
    for twin, history, seed, rate in zip(twins, histories, SEEDS, rates, strict=True):
        losses = plain_loop(twin, sets, seed, decays, rate, optimizer=optimizer)
        np.testing.assert_allclose(history.loss, losses, rtol=1e-8)


@pytest.mark.parametrize("norm", [None, BatchNorm, nn.BatchNorm1d])
def test_in_float32_the_papers_network_agrees_to_1e_6_over_30_steps(norm, mnist):
    sets = mnist.tensors("train"), mnist.tensors("test")
    models, twins = ([PaperNetwork(norm, seed=seed) for seed in SEEDS] for _ in range(2))
    stacked(models, sets, learning_rate=0.1)
    for model, twin, seed in zip(models, twins, SEEDS, strict=True):
        plain_loop(twin, sets, seed, learning_rate=0.1)
        torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("norm", [None, BatchNorm, nn.BatchNorm2d])
def test_a_convolutional_network_is_trained_as_by_the_plain_loop(norm):
    sets = draw(40, 1, (1, 28, 28)), draw(20, 2, (1, 28, 28))
    models, twins = ([SmallCNN(norm, seed=seed).double() for seed in SEEDS] for _ in range(2))
    stacked(models, sets, look_steps=[0, 4])
    for model, twin, seed in zip(models, twins, SEEDS, strict=True):
        plain_loop(twin, sets, seed, steps=4)
        torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("arm", COUSINS, ids=str)
def test_each_cousin_is_trained_as_by_the_plain_loop(arm):
    norm, weights = arm
    setting = SmallCNNSetting(norm=norm, weights=weights, ghost=5)
    sets = draw(40, 1, (1, 28, 28)), draw(20, 2, (1, 28, 28))
    models, twins = ([setting.build(seed).double() for seed in SEEDS] for _ in range(2))
    stacked(models, sets, look_steps=[0, 3], learning_rate=0.05)
    for model, twin, seed in zip(models, twins, SEEDS, strict=True):
        plain_loop(twin, sets, seed, steps=3, learning_rate=0.05)
        torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=1e-9, atol=1e-9)


def test_a_history_is_that_of_train(sets):
    (first, *_), (twin, *_) = MODELS["ours"](), MODELS["ours"]()

    def probe(model):
        return {"gamma": model.hidden[0].norm.weight.detach().numpy().copy(), "mode": model.training}

    options = {"batch_size": 10, "learning_rate": 0.2, "probe": probe}
    expected = train(twin, *sets, steps=14, look_every=7, seed=0, **options)
    (history,) = train_stacked([first], *sets, seeds=[0], look_steps=[0, 7, 14], **options)
    np.testing.assert_array_equal(history.steps, expected.steps)
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-12)
    np.testing.assert_array_equal(history.accuracy, expected.accuracy)
    assert history.probes.keys() == expected.probes.keys() == {"gamma", "mode"}
    np.testing.assert_allclose(history.probes["gamma"], expected.probes["gamma"], rtol=1e-12)
    assert not history.probes["mode"].any()


def test_how_often_it_is_looked_at_does_not_change_a_run(sets):
    often, seldom = MODELS["ours"](), MODELS["ours"]()
    a = stacked(often, sets, look_steps=[*range(10), STEPS])
    b = stacked(seldom, sets, look_steps=[0, STEPS])
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x.loss, y.loss)
    torch.testing.assert_close(often[1].state_dict(), seldom[1].state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["plain", "ours"])
def test_a_run_that_diverges_leaves_the_others_alone(kind, sets):
    tame, wild = MODELS[kind](), MODELS[kind]()
    with torch.no_grad():
        wild[1].output.weight.fill_(torch.nan)
    expected, found = stacked(tame, sets), stacked(wild, sets)
    assert np.isnan(found[1].loss).all()
    assert found[1].accuracy[-1] < 0.5
    for r in (0, 2):
        np.testing.assert_array_equal(found[r].loss, expected[r].loss)


def test_training_leaves_the_global_generator_alone(sets):
    before = torch.get_rng_state()
    stacked(MODELS["ours"](), sets)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [0]}, "as many seeds as models"),
        ({"look_steps": [0, 5, 5]}, "ascend from 0"),
        ({"look_steps": [1, 5]}, "ascend from 0"),
        ({"look_steps": [0]}, "ascend from 0"),
        ({"batch_size": 74}, "between 1 and 73"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_before_anything_moves(options, message, sets):
    models = MODELS["ours"]()
    before = copy.deepcopy(models[0].state_dict())
    with pytest.raises(ValueError, match=message):
        stacked(models, sets, **options)
    torch.testing.assert_close(models[0].state_dict(), before, rtol=0, atol=0)
