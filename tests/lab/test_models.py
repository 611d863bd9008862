import pytest
import torch
from torch import nn

from bnlib.lab.models import PaperNetwork, SmallCNN
from bnlib.layers import BatchNorm

NORMS = {"none": None, "ours": BatchNorm, "torch's dense": nn.BatchNorm1d, "torch's maps": nn.BatchNorm2d}
paper_norms = pytest.mark.parametrize("norm", ["none", "ours", "torch's dense"])
cnn_norms = pytest.mark.parametrize("norm", ["none", "ours", "torch's maps"])


def linears(model):
    return [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


@paper_norms
def test_the_papers_network_has_three_hidden_layers_of_100_sigmoid_units(norm):
    model = PaperNetwork(NORMS[norm])
    shapes = [tuple(layer.weight.shape) for layer in linears(model)]
    assert shapes == [(100, 784), (100, 100), (100, 100), (10, 100)]
    assert [type(block.activation) for block in model.hidden] == [nn.Sigmoid] * 3


@paper_norms
def test_images_and_flat_pixels_give_the_same_scores(norm):
    model, images = PaperNetwork(NORMS[norm]), torch.rand(4, 1, 28, 28)
    scores = model(images)
    assert scores.shape == (4, 10)
    torch.testing.assert_close(model(images.reshape(4, 784)), scores, rtol=0, atol=0)


def test_without_a_norm_each_layer_is_a_sigmoid_of_a_linear_map():
    model, x = PaperNetwork(std=0.3), torch.rand(4, 784)
    *hidden, output = linears(model)
    h = x
    for layer in hidden:
        h = torch.sigmoid(h @ layer.weight.T + layer.bias)
    torch.testing.assert_close(model(x), h @ output.weight.T + output.bias)


def test_the_norm_stands_between_the_linear_map_and_the_sigmoid():
    model, x = PaperNetwork(BatchNorm), torch.rand(4, 784)
    u = x @ model.hidden[0].linear.weight.T
    normalized = (u - u.mean(dim=0)) / torch.sqrt(u.var(dim=0, correction=0) + 1e-5)
    torch.testing.assert_close(model.hidden[0](x), torch.sigmoid(normalized), rtol=1e-4, atol=1e-5)


def test_the_norm_can_stand_after_the_sigmoid_behind_a_layer_with_a_bias():
    model, x = PaperNetwork(BatchNorm, norm_after=True).eval(), torch.rand(4, 784)
    assert [type(m) for m in model.hidden[0]] == [nn.Linear, nn.Sigmoid, BatchNorm]
    assert all(layer.bias is not None for layer in linears(model))
    block = model.hidden[0]
    torch.testing.assert_close(block(x), block.norm(torch.sigmoid(block.linear(x))))
    plain = PaperNetwork(norm_after=True)
    assert [type(m) for m in plain.hidden[0]] == [nn.Linear, nn.Sigmoid]


@pytest.mark.parametrize("network", [PaperNetwork, SmallCNN])
def test_only_a_layer_without_a_norm_after_it_has_a_bias(network):
    assert [layer.bias is None for layer in linears(network(BatchNorm))][-2:] == [True, False]
    assert all(layer.bias is not None for layer in linears(network()))


@pytest.mark.parametrize("network", [PaperNetwork, SmallCNN])
def test_a_seed_fixes_the_weights_whatever_normalizes(network):
    torch.manual_seed(1)
    models = [network(norm, seed=3) for norm in (None, BatchNorm)]
    torch.manual_seed(2)
    models.append(network(seed=3))
    other = network(seed=4)
    for first, *others in zip(*map(linears, (*models, other)), strict=True):
        same, again, different = (torch.equal(first.weight, layer.weight) for layer in others)
        assert same
        assert again
        assert not different


@pytest.mark.parametrize("network", [PaperNetwork, SmallCNN])
def test_building_a_network_leaves_the_global_generator_alone(network):
    before = torch.get_rng_state()
    network(BatchNorm)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("std", [0.01, 0.5])
def test_the_initial_weights_are_gaussian_with_the_std_given_and_the_biases_zero(std):
    for layer in linears(PaperNetwork(std=std)):
        n = layer.weight.numel()
        assert layer.weight.std().item() == pytest.approx(std, rel=5 / n**0.5)
        assert layer.weight.mean().item() == pytest.approx(0, abs=5 * std / n**0.5)
        assert torch.all(layer.bias == 0)
    within = (linears(PaperNetwork(std=std))[0].weight.abs() < std).float().mean().item()
    assert within == pytest.approx(0.6827, abs=0.01)


def test_the_cnns_initial_weights_keep_the_spread_through_a_relu():
    for layer in linears(SmallCNN()):
        fan_in = layer.weight[0].numel()
        spread = 5 / layer.weight.numel() ** 0.5
        assert layer.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=spread)
        assert torch.all(layer.bias == 0)


def test_widths_and_activation_can_be_chosen():
    model = PaperNetwork(BatchNorm, widths=(20, 7, 5), activation=nn.Tanh)
    assert [tuple(layer.weight.shape) for layer in linears(model)] == [(7, 20), (5, 7)]
    assert type(model.hidden[0].activation) is nn.Tanh
    assert model.hidden[0].norm.num_features == 7


def test_a_network_without_hidden_layers_is_a_linear_map():
    model, x = PaperNetwork(widths=(20, 5)), torch.rand(3, 20)
    torch.testing.assert_close(model(x), x @ model.output.weight.T)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"std": 0.0}, "a positive std"), ({"widths": (784,)}, "an input and an output")],
    ids=str,
)
def test_arguments_that_make_no_network_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PaperNetwork(**arguments)


@cnn_norms
def test_the_cnn_gives_ten_scores_an_image(norm):
    model = SmallCNN(NORMS[norm])
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 10)
    assert [tuple(layer.weight.shape) for layer in linears(model)] == [(8, 1, 3, 3), (16, 8, 3, 3), (10, 784)]


def test_each_of_the_cnns_layers_halves_the_map_after_the_relu():
    model, x = SmallCNN(BatchNorm).eval(), torch.rand(2, 1, 28, 28)
    kinds = [type(m) for m in model.hidden[0]]
    assert kinds == [nn.Conv2d, BatchNorm, nn.ReLU, nn.MaxPool2d]
    assert model.hidden[0](x).shape == (2, 8, 14, 14)
    assert model.hidden(x).shape == (2, 16, 7, 7)


@pytest.mark.parametrize(
    ("network", "theirs", "shape"),
    [(PaperNetwork, nn.BatchNorm1d, (5, 784)), (SmallCNN, nn.BatchNorm2d, (5, 1, 28, 28))],
)
def test_with_our_norm_or_torchs_the_network_is_the_same(network, theirs, shape):
    x = torch.rand(shape, dtype=torch.float64)
    ours, theirs = network(BatchNorm).double(), network(theirs).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for mode in (True, False):
        a, b = ours.train(mode)(x), theirs.train(mode)(x)
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
