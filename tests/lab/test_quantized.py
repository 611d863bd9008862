import pytest
import torch

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


@pytest.mark.parametrize("bits", [1, 9])
def test_other_numbers_of_bits_are_refused(bits):
    with pytest.raises(ValueError, match=rf"2 to 8 bits \(got {bits}\)"):
        quantized_weight(torch.ones(2, 2), bits)
