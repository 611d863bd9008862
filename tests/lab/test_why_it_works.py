"""What the explanations speak of: the definitions, by differences and by autograd."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnlib.lab import NoisyBatchNorm, PaperNetwork, along_gradient, gradient_shift, training_loss
from bnlib.layers import BatchNorm

NORMS = {"plain": None, "BN": BatchNorm, "noisy": NoisyBatchNorm}
RATE = 0.5


@pytest.fixture(params=NORMS)
def model(request):
    return PaperNetwork(NORMS[request.param], widths=(12, 9, 8, 5), std=0.3).double().eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    x = 1 + torch.randn(20, 12, generator=generator, dtype=torch.float64)
    return x, torch.randint(5, (20,), generator=generator)


def gradients(model, x, y):
    """By autograd, in training mode, of a copy."""
    twin = copy.deepcopy(model).train()
    loss = F.cross_entropy(twin(x), y)
    return dict(zip(dict(twin.named_parameters()), torch.autograd.grad(loss, twin.parameters()), strict=True))


def test_the_gradient_of_the_first_layer_does_not_change(model, batch):
    found = gradient_shift(model, *batch, RATE)
    assert found.change[0] == 0
    assert found.cosine[0] == pytest.approx(1)


def test_of_every_other_layer_it_changes_as_when_the_layers_below_are_moved_by_hand(model, batch):
    before = gradients(model, *batch)
    found = gradient_shift(model, *batch, RATE)
    for i, layer in enumerate(("hidden.0.", "hidden.1.", "output.")):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for name, p in moved.named_parameters():
                if name < layer:  # in the order of the alphabet too
                    p -= RATE * before[name]
        own = f"{layer}weight" if layer == "output." else f"{layer}linear.weight"
        g, later = before[own], gradients(moved, *batch)[own]
        assert found.size[i] == pytest.approx(g.norm().item())
        assert found.change[i] == pytest.approx((g - later).norm().item())
        cosine = (g * later).sum() / (g.norm() * later.norm())
        assert found.cosine[i] == pytest.approx(cosine.item())


def test_without_a_step_nothing_changes_unless_noise_is_redrawn(model, batch):
    still = gradient_shift(model, *batch, 0.0)
    assert still.change.max() == 0
    redrawn = gradient_shift(model, *batch, 0.0, redraw=True)
    noisy = any(isinstance(module, NoisyBatchNorm) for module in model.modules())
    assert (redrawn.change.min() > 0) == noisy


def test_looking_changes_nothing(model, batch):
    before = copy.deepcopy(model.state_dict())
    gradient_shift(model, *batch, RATE, redraw=True)
    along_gradient(model, *batch, [RATE])
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


def test_the_loss_along_the_gradient_begins_with_the_gradients_own_slope(model, batch):
    start = training_loss(model, *batch)(dict(model.named_parameters())).item()
    found = along_gradient(model, *batch, [1e-6])
    assert (start - found.loss.item()) / 1e-6 == pytest.approx(found.size.item() ** 2, rel=1e-4)


def test_of_a_quadratic_the_smoothness_is_the_curvature_along_the_gradient():
    class Quadratic(nn.Module):
        """Logits (0, w) with a w so large that the loss is nearly linear: its curvature is p(1-p)."""

        def __init__(self, w):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([w], dtype=torch.float64))

        def forward(self, x):
            return torch.stack([torch.zeros_like(x), x * self.w], dim=1)

    x, y = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    found = along_gradient(Quadratic(0.3), x, y, [1e-5, 1e-4])
    p = torch.sigmoid(torch.tensor(0.3, dtype=torch.float64))
    assert found.size.item() == pytest.approx(p.item())
    assert found.smoothness.item() == pytest.approx((p * (1 - p)).item(), rel=1e-4)
    assert found.change.tolist() == pytest.approx(
        [(p * (1 - p) * p * eta).item() for eta in (1e-5, 1e-4)], rel=1e-3
    )
