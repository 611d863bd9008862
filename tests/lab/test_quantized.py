import pytest
import torch
from torch import nn

from bnlib.lab import SmallCNN, quantized, quantized_weight


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("per_channel", [True, False])
def test_a_weight_has_so_many_steps_and_is_off_by_half_a_step(bits, per_channel):
    weight = torch.randn(4, 3, 5, 5) * torch.tensor([0.01, 1, 1, 10]).view(4, 1, 1, 1)
    rounded, top = quantized_weight(weight, bits, per_channel), 2 ** (bits - 1) - 1
    rows = weight.flatten(1) if per_channel else weight.reshape(1, -1)
    step = rows.abs().amax(dim=1, keepdim=True) / top
    whole = rounded.reshape(rows.shape) / step
    torch.testing.assert_close(whole, whole.round(), rtol=0, atol=1e-3)
    assert whole.abs().max() <= top + 1e-3
    assert ((rounded.reshape(rows.shape) - rows).abs() <= step * 0.5001).all()


def test_one_step_for_all_loses_the_small_channels():
    weight = torch.randn(2, 50) * torch.tensor([[0.001], [1.0]])
    assert quantized_weight(weight)[0].abs().max() == 0
    assert quantized_weight(weight, per_channel=True)[0].abs().max() > 0
    assert quantized_weight(torch.zeros(2, 3)).abs().max() == 0


def test_a_models_weights_are_rounded_and_its_biases_left_in_a_copy():
    model = SmallCNN()
    before = model.output.weight.clone()
    rounded = quantized(model, 4)
    assert torch.equal(rounded.output.weight, quantized_weight(model.output.weight, 4))
    assert torch.equal(rounded.output.bias, model.output.bias)
    assert torch.equal(model.output.weight, before)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear])
def test_linear_layers_and_convolutions_of_every_rank_are_rounded(kind, per_channel):
    layer = kind(3, 4, *[2] * (kind is not nn.Linear))
    rounded = quantized(nn.Sequential(layer), 4, per_channel)[0].weight
    assert torch.equal(rounded, quantized_weight(layer.weight, 4, per_channel))
    assert not torch.equal(rounded, layer.weight)


@pytest.mark.parametrize("kind", [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d])
def test_transposed_convolutions_whose_outputs_are_another_axis_are_refused(kind):
    with pytest.raises(TypeError, match=rf"no transposed convolution \(got {kind.__name__} '1'\)"):
        quantized(nn.Sequential(nn.Linear(3, 3), kind(3, 4, 2)))


def test_a_weight_is_rounded_on_its_own_device_whatever_the_default():
    weight = torch.randn(2, 3)
    with torch.device("meta"):
        rounded = quantized_weight(weight, per_channel=True)
    assert torch.equal(rounded, quantized_weight(weight, per_channel=True))


@pytest.mark.parametrize("bits", [1, 9])
def test_other_numbers_of_bits_are_refused(bits):
    with pytest.raises(ValueError, match=rf"2 to 8 bits \(got {bits}\)"):
        quantized_weight(torch.ones(2, 2), bits)
