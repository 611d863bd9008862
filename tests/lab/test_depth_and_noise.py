"""Deep networks before training: the gradient in each layer, by autograd and by a derivation."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnlib.lab import DeepNetwork, gradient_by_layer
from bnlib.layers import BatchNorm


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(128, 200, generator=generator), torch.randint(10, (128,), generator=generator)


@pytest.mark.parametrize("skip", [False, True])
def test_the_gradients_are_autograds_and_nothing_is_moved(batch, skip):
    model = DeepNetwork(3, BatchNorm, skip=skip).eval()
    found = gradient_by_layer(model, *batch)
    assert not model.training
    assert int(model.hidden[0].norm.num_batches_tracked) == 0
    F.cross_entropy(model.train()(batch[0]), batch[1]).backward()
    expected = [layer.linear.weight.grad.norm().item() for layer in model.hidden]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_skip_adds_what_came_in(batch):
    x, _ = batch
    plain, skipping = DeepNetwork(1), DeepNetwork(1, skip=True)
    hidden = torch.relu(x @ plain.hidden[0].linear.weight.T)
    torch.testing.assert_close(plain(x), plain.output(hidden))
    torch.testing.assert_close(skipping(x), plain.output(x + hidden))


def test_with_batch_norm_and_relu_the_gradient_grows_by_the_derived_factor_a_layer(batch):
    # squared: He's weights give back the half that ReLU takes, and 1 / s^2 = 1 / (1 - 1 / pi) is left
    norms = gradient_by_layer(DeepNetwork(60, BatchNorm), *batch).double()
    growth = (norms[0] / norms[-1]) ** (1 / 59)
    assert growth == pytest.approx(math.sqrt(math.pi / (math.pi - 1)), rel=0.03)


def test_without_a_norm_or_with_skips_it_does_not(batch):
    for model in (DeepNetwork(60), DeepNetwork(60, BatchNorm, skip=True)):
        norms = gradient_by_layer(model, *batch)
        assert norms[0] / norms[-1] < 20


def test_a_linear_network_with_batch_norm_has_no_growth(batch):
    norms = gradient_by_layer(DeepNetwork(60, BatchNorm, activation=nn.Identity), *batch)
    assert 0.3 < norms[0] / norms[-1] < 3


def test_a_network_without_hidden_layers_is_refused():
    with pytest.raises(ValueError, match="at least one hidden layer"):
        DeepNetwork(0)
