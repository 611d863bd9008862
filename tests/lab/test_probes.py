import numpy as np
import pytest
import torch
from torch import nn

from bnlib.lab.models import PaperNetwork, SmallCNN
from bnlib.lab.probes import (
    activation_inputs,
    change_by_layer,
    input_percentiles,
    layer_inputs,
    percentile_probe,
    record_inputs,
)
from bnlib.layers import BatchNorm


@pytest.fixture
def model():
    return PaperNetwork(BatchNorm, widths=(6, 5, 4, 3), std=0.5)


@pytest.fixture
def x():
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(0)) + 2


def no_hooks(model):
    return not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


def test_the_recorded_input_is_what_the_layers_before_make_of_it(model, x):
    model.eval()
    with record_inputs({"second": model.hidden[1]}) as inputs:
        model(x)
    torch.testing.assert_close(inputs["second"], model.hidden[0](x).detach(), rtol=0, atol=0)
    assert not inputs["second"].requires_grad


def test_the_last_input_is_the_one_that_is_kept(model, x):
    with record_inputs({"first": model.hidden[0]}) as inputs:
        assert inputs == {}
        model(x), model(2 * x)
    torch.testing.assert_close(inputs["first"], 2 * x, rtol=0, atol=0)


def test_a_module_that_works_in_place_does_not_change_the_record(x):
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True))
    with record_inputs({"relu": model[1]}) as inputs:
        model(x)
    torch.testing.assert_close(inputs["relu"], model[0](x).detach(), rtol=0, atol=0)


def test_recording_does_not_change_the_output_or_its_gradients(model, x):
    model.eval()
    plain = model(x)
    with record_inputs(activation_inputs(model)):
        probed = model(x)
    torch.testing.assert_close(probed, plain, rtol=0, atol=0)
    assert probed.requires_grad


@pytest.mark.parametrize("fails", [False, True])
def test_the_hooks_come_off_again(model, x, fails):
    try:
        with record_inputs(activation_inputs(model)):
            model(x[:, :2] if fails else x)
    except RuntimeError:
        assert fails
    assert no_hooks(model)


@pytest.mark.parametrize("mode", [True, False])
def test_looking_at_a_layers_input_moves_nothing(model, x, mode):
    model.train(mode)
    before = {name: v.clone() for name, v in model.state_dict().items()}
    inputs = layer_inputs(model, model.hidden[1].linear, x)
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    assert model.training is mode
    assert no_hooks(model)
    torch.testing.assert_close(inputs, model.hidden[0](x).detach(), rtol=0, atol=0)
    assert not inputs.requires_grad


def test_looking_puts_the_buffers_back_after_a_failure(model, x):
    model.output = nn.Linear(7, 3)  # fits nothing
    before = {name: v.clone() for name, v in model.state_dict().items()}
    with pytest.raises(RuntimeError):
        layer_inputs(model, model.hidden[1], x)
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    assert no_hooks(model)


def test_a_module_that_the_model_does_not_call_is_refused(model, x):
    with pytest.raises(ValueError, match="a module that the model calls"):
        layer_inputs(model, nn.Linear(6, 5), x)


def test_the_percentiles_are_numpys_for_every_unit(x):
    expected = np.percentile(x.numpy(), (15, 50, 85), axis=0)
    ours = input_percentiles(x)
    assert ours.shape == (3, 6)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_other_percentiles_can_be_asked_for(x):
    ours = input_percentiles(x.double(), (0, 100))
    torch.testing.assert_close(ours, torch.stack([x.double().amin(dim=0), x.double().amax(dim=0)]))


def test_a_percentile_probe_finds_those_of_every_modules_input_and_leaves_no_hook(model, x):
    found = percentile_probe(activation_inputs(model), x)(model.eval())
    assert {name: v.shape for name, v in found.items()} == {"hidden 1": (3, 5), "hidden 2": (3, 4)}
    u = model.hidden[0].norm(model.hidden[0].linear(x)).detach().numpy()
    np.testing.assert_allclose(
        found["hidden 1"], np.percentile(u, (15, 50, 85), axis=0), rtol=1e-4, atol=1e-5
    )
    assert no_hooks(model)


@pytest.mark.parametrize("norm", [None, BatchNorm])
@pytest.mark.parametrize(
    ("network", "kind", "layers"), [(PaperNetwork, nn.Sigmoid, 3), (SmallCNN, nn.ReLU, 2)]
)
def test_the_activations_are_found_by_name_in_the_order_of_the_layers(network, kind, layers, norm):
    model = network(norm)
    found = activation_inputs(model)
    assert list(found) == [f"hidden {i}" for i in range(1, layers + 1)]
    assert list(found.values()) == [m for m in model.modules() if isinstance(m, kind)]


def test_the_change_of_the_first_layer_is_that_of_its_moved_weights(x):
    model = PaperNetwork(widths=(6, 5, 4, 3), std=0.5)
    weight = model.hidden[0].linear.weight.detach()
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(4))
    moved = 0.1 * direction * (weight.norm() / direction.norm())
    expected = (x @ moved.T).norm() / (x @ weight.T).norm()
    torch.testing.assert_close(change_by_layer(model, x, relative=0.1, seed=4)[0], expected)


def test_the_change_is_felt_at_every_hidden_layer_in_proportion_while_it_is_small(model, x):
    model, x = model.double(), x.double()
    small, twice = change_by_layer(model, x, relative=1e-6), change_by_layer(model, x, relative=2e-6)
    assert small.shape == (2,)
    torch.testing.assert_close(twice / small, torch.full((2,), 2.0, dtype=torch.float64), rtol=1e-3, atol=0)


def test_measuring_the_change_moves_nothing(model, x):
    before = {name: v.clone() for name, v in model.state_dict().items()}
    change_by_layer(model, x)
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    assert no_hooks(model)
