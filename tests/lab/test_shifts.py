import pytest
import torch

from bnlib.lab import SHIFTS, Split, shifted


@pytest.fixture
def split():
    generator = torch.Generator().manual_seed(0)
    return Split(torch.rand(6, 1, 28, 28, generator=generator), torch.arange(6))


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_changes_every_image_and_no_label(name, split):
    before = split.images.clone()
    moved = shifted(split, name)
    assert moved.images.shape == split.images.shape
    assert torch.equal(moved.labels, split.labels)
    assert ((moved.images - split.images).abs().amax(dim=(1, 2, 3)) > 0.1).all()
    assert torch.equal(split.images, before)


def test_a_seed_fixes_the_noise(split):
    first, again, other = (shifted(split, "noise", seed).images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first - split.images).std().item() == pytest.approx(0.5, rel=0.05)


def test_the_simple_ones_are_what_they_say(split):
    x = split.images
    torch.testing.assert_close(shifted(split, "low contrast").images, x / 4)
    torch.testing.assert_close(shifted(split, "brightness").images, x + 0.5)
    torch.testing.assert_close(shifted(split, "inversion").images, 1 - x)


def test_a_turn_keeps_the_middle_and_moves_a_bar():
    x = torch.zeros(1, 1, 28, 28)
    x[..., 2:26, 13:15] = 1  # upright
    turned = shifted(Split(x, torch.zeros(1)), "rotation").images
    assert turned[0, 0, 13, 13] == pytest.approx(1, abs=0.05)
    assert turned[0, 0, 3, 13] < 0.05
    assert turned.sum().item() == pytest.approx(x.sum().item(), rel=0.1)


def test_what_is_no_shift_or_no_image_is_refused(split):
    with pytest.raises(KeyError, match="fog"):
        shifted(split, "fog")
    with pytest.raises(ValueError, match=r"expected images \(N, 1, H, W\)"):
        shifted(Split(split.images.flatten(1), split.labels), "noise")
