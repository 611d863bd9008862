import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from bnlib import reference
from bnlib.lab.models import PaperNetwork, SmallCNN
from bnlib.layers import (
    BatchNorm,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    fold_model,
    fold_pair,
    is_batch_norm,
)

REFLECTING = {"padding": 2, "dilation": 2, "padding_mode": "reflect"}
# kind -> a layer with 4 outputs, the shape of an input, the norms after it
KINDS = {
    "linear": (partial(nn.Linear, 6, 4), (5, 6), [BatchNorm1d, nn.BatchNorm1d, nn.SyncBatchNorm]),
    "conv1d": (partial(nn.Conv1d, 6, 4, 3), (2, 6, 7), [BatchNorm1d, nn.BatchNorm1d]),
    "conv2d": (
        partial(nn.Conv2d, 6, 4, (3, 2), stride=2, padding=1, groups=2),
        (2, 6, 7, 8),
        [BatchNorm2d, nn.BatchNorm2d],
    ),
    "reflecting": (partial(nn.Conv2d, 6, 4, 3, **REFLECTING), (2, 6, 7, 8), [BatchNorm, nn.BatchNorm2d]),
    "conv3d": (
        partial(nn.Conv3d, 6, 4, 2, padding=1, groups=2),
        (2, 6, 4, 3, 5),
        [BatchNorm3d, nn.BatchNorm3d],
    ),
}
PAIRS = [
    pytest.param(layer, shape, norm, id=f"{kind}-{norm.__module__.split('.')[0]}-{norm.__name__}")
    for kind, (layer, shape, norms) in KINDS.items()
    for norm in norms
]

IN_TRAINING = r"in eval mode \(got training mode\): call eval\(\) first$"


def random_statistics(module):
    """Parameters and running statistics of every norm, off their initial values; in eval mode, float64."""
    for m in module.modules():
        if isinstance(getattr(m, "running_mean", None), torch.Tensor):
            m.running_mean.normal_(3, 1)
            m.running_var.uniform_(0.01, 4)
            if m.affine:
                nn.init.normal_(m.weight), nn.init.normal_(m.bias)
    return module.double().eval()


def random_norm(norm, **arguments):
    return random_statistics(norm(4, eps=1e-2, **arguments))


def assert_agree(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("layer", "shape", "norm"), PAIRS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_a_folded_pair_does_what_the_two_do(layer, shape, norm, bias, affine):
    layer, norm = layer(bias=bias).double(), random_norm(norm, affine=affine)
    x = torch.randn(shape, dtype=torch.float64)
    folded = fold_pair(layer, norm)
    assert_agree(folded(x), norm(layer(x)))
    assert type(folded) is type(layer)


def test_folding_agrees_with_the_reference():
    layer, norm = nn.Conv2d(6, 4, 3).double(), random_norm(BatchNorm2d)
    folded = fold_pair(layer, norm)
    tensors = (layer.weight, layer.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    weight, bias = reference.fold_batch_norm(*(t.detach().numpy() for t in tensors), norm.eps)
    assert_agree(folded.weight.detach(), torch.from_numpy(weight))
    assert_agree(folded.bias.detach(), torch.from_numpy(bias))


@pytest.mark.parametrize("bias", [True, False])
def test_folding_a_pair_leaves_both_as_they_were(bias, same_state):
    layer, norm = nn.Linear(6, 4, bias=bias).double(), random_norm(BatchNorm)
    before = copy.deepcopy([layer, norm])
    folded = fold_pair(layer, norm)
    with torch.no_grad():
        folded.weight.zero_(), folded.bias.zero_()
    same_state(layer, before[0]), same_state(norm, before[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str, indirect=True)
def test_a_folded_layer_keeps_its_dtype_and_can_be_trained(dtype):
    folded = fold_pair(nn.Linear(6, 4, bias=False, dtype=dtype), random_norm(BatchNorm).to(dtype))
    assert folded.weight.dtype == folded.bias.dtype == dtype
    assert [name for name, p in folded.named_parameters() if p.requires_grad] == ["weight", "bias"]


class Half(nn.Linear):
    def forward(self, x):
        return super().forward(x) / 2


@pytest.mark.parametrize(
    "layer",
    [nn.ConvTranspose2d(4, 4, 3), nn.ReLU(), Half(6, 4), weight_norm(nn.Linear(6, 4))],
    ids=["transposed", "relu", "subclass", "weight_norm"],
)
def test_a_layer_whose_rows_are_not_its_outputs_is_refused(layer):
    with pytest.raises(TypeError, match=rf"Linear or Conv layer to fold into \(got {type(layer).__name__}\)"):
        fold_pair(layer, random_norm(BatchNorm))


@pytest.mark.parametrize("norm", [nn.LayerNorm(4), nn.InstanceNorm2d(4, track_running_stats=True)])
def test_another_kind_of_norm_is_refused(norm):
    with pytest.raises(TypeError, match=rf"batch norm to fold \(got {type(norm).__name__}\)"):
        fold_pair(nn.Conv2d(6, 4, 3), norm.eval())


@pytest.mark.parametrize("norm", [BatchNorm2d, nn.BatchNorm2d])
def test_a_pair_that_does_not_fold_is_refused(norm):
    layer = nn.Conv2d(6, 4, 3)
    with pytest.raises(ValueError, match=IN_TRAINING):
        fold_pair(layer, norm(4))
    with pytest.raises(
        ValueError, match=r"^expected a batch norm with running statistics \(got track_running_stats=False\)$"
    ):
        fold_pair(layer, norm(4, track_running_stats=False).eval())
    for channels in (3, 5):
        with pytest.raises(ValueError, match=rf"4 channels, one per output \(got {channels}\)"):
            fold_pair(layer, norm(channels).eval())


def norms_left(model):
    return sum(map(is_batch_norm, model.modules()))


def check_model(model, x, *, left):
    """Fold it: so many norms stay, the outputs agree, and the model is as it was."""
    model, x = random_statistics(model), x.double()
    before, y = copy.deepcopy(model.state_dict()), model(x)
    folded = fold_model(model)
    assert_agree(folded(x), y)
    assert norms_left(folded) == left
    assert type(folded) is type(model)
    assert not folded.training
    for name, v in model.state_dict().items():
        torch.testing.assert_close(v, before[name], rtol=0, atol=0)
    assert_agree(model(x), y)
    return folded


@pytest.mark.parametrize("norm", [BatchNorm, nn.BatchNorm1d])
def test_the_papers_network_folds_whole(norm):
    folded = check_model(PaperNetwork(norm), 50 * torch.rand(3, 784), left=0)
    assert folded.hidden[0].linear.bias is not None


@pytest.mark.parametrize("norm", [BatchNorm2d, nn.BatchNorm2d])
def test_the_small_cnn_folds_whole(norm):
    check_model(SmallCNN(norm), torch.rand(3, 1, 28, 28), left=0)


def test_a_model_without_norms_is_copied():
    model = SmallCNN()
    folded = check_model(model, torch.rand(3, 1, 28, 28), left=0)
    assert folded.output.weight is not model.output.weight


def test_a_nested_sequential_folds():
    inner = nn.Sequential(nn.Conv2d(2, 4, 3), BatchNorm2d(4))
    model = nn.Sequential(inner, nn.ReLU(), nn.Flatten(), nn.Linear(36, 5), nn.BatchNorm1d(5))
    check_model(model, torch.randn(2, 2, 5, 5), left=0)


def test_only_norms_straight_after_a_layer_fold():
    model = nn.Sequential(
        nn.Linear(4, 4), nn.ReLU(), BatchNorm(4), nn.Linear(4, 4), BatchNorm(4), BatchNorm(4)
    )
    check_model(model, torch.randn(5, 4), left=2)


def test_a_norm_before_a_padded_convolution_does_not_fold():
    check_model(nn.Sequential(BatchNorm2d(2), nn.Conv2d(2, 4, 3, padding=1)), torch.randn(2, 2, 5, 5), left=1)


def test_a_norm_without_running_statistics_stays():
    model = nn.Sequential(nn.Linear(4, 4), BatchNorm(4, track_running_stats=False))
    check_model(model, torch.randn(5, 4), left=1)


@pytest.mark.parametrize("channels", [3, 5])
def test_a_norm_over_another_axis_than_the_layers_outputs_stays(channels):
    model = nn.Sequential(nn.Linear(6, 4), BatchNorm1d(channels))
    check_model(model, torch.randn(5, channels, 6), left=1)


def test_a_layer_with_a_weight_computed_from_others_stays_and_the_others_fold(compute_weight):
    layers = nn.Linear(6, 5), BatchNorm(5), nn.Sigmoid(), nn.Linear(5, 4), BatchNorm(4)
    model = random_statistics(nn.Sequential(*layers))
    compute_weight(model[0])
    x = torch.randn(5, 6, dtype=torch.float64)
    model(x)
    folded = fold_model(model)
    assert [is_batch_norm(m) for m in folded] == [False, True, False, False, False]
    assert_agree(folded(x), model(x))


class Wired(nn.Module):
    """A layer and a norm, with a forward to be given."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 4), BatchNorm(4)


class Residual(Wired):
    def forward(self, x):
        u = self.layer(x)
        return self.norm(u) + u


class LayerTwice(Wired):
    def forward(self, x):
        return self.layer(torch.relu(self.norm(self.layer(x))))


class NormTwice(Wired):
    def forward(self, x):
        return self.norm(torch.relu(self.norm(self.layer(x))))


class ReadsTheWeight(Wired):
    def forward(self, x):
        return F.linear(self.norm(self.layer(x)), self.layer.weight.T)


class ReadsGamma(Wired):
    def forward(self, x):
        return self.norm(self.layer(x)) / self.norm.weight.sum()


class ReturnsBoth(Wired):
    def forward(self, x):
        u = self.layer(x)
        return torch.stack([u, self.norm(u)])


@pytest.mark.parametrize("model", [Residual, LayerTwice, NormTwice, ReadsTheWeight, ReadsGamma, ReturnsBoth])
def test_a_pair_that_is_also_used_otherwise_stays(model):
    check_model(model(), torch.randn(5, 4), left=1)


class Skip(Wired):
    def forward(self, x):
        return torch.relu(self.norm(self.layer(x)) + x)


class Children(nn.Module):
    """Not called in the order of its children."""

    def __init__(self):
        super().__init__()
        self.norm, self.second, self.first = BatchNorm(4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.second(torch.relu(self.norm(self.first(x))))


class Aliases(Wired):
    """Known under other names too, and called by those."""

    def __init__(self):
        super().__init__()
        self.same_layer, self.same_norm = self.layer, self.norm

    def forward(self, x):
        return self.same_norm(self.same_layer(x))


@pytest.mark.parametrize("model", [Skip, Children, Aliases])
def test_the_data_flow_decides_what_folds(model):
    check_model(model(), torch.randn(5, 4), left=0)


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(ValueError, match=IN_TRAINING):
        fold_model(PaperNetwork(BatchNorm))


def test_a_norm_in_training_mode_inside_a_model_is_refused():
    model = random_statistics(PaperNetwork(BatchNorm))
    model.hidden[1].norm.train()
    with pytest.raises(ValueError, match=IN_TRAINING):
        fold_model(model)


class Branches(Wired):
    def forward(self, x):
        return self.norm(self.layer(x)) if x.sum() > 0 else x


def test_a_model_that_branches_on_the_data_is_refused():
    with pytest.raises(ValueError, match="data flow can be traced"):
        fold_model(Branches().eval())


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_folded_layer_can_be_trained_if_the_layer_could(bias, trainable):
    layer = nn.Linear(6, 4, bias=bias).double().requires_grad_(trainable)
    folded = fold_pair(layer, random_norm(BatchNorm))
    assert folded.weight.requires_grad == folded.bias.requires_grad == trainable


def test_a_layer_keeps_its_dtype_after_a_norm_of_another():
    folded = fold_pair(nn.Linear(6, 4), random_norm(BatchNorm))  # float32 before float64
    assert folded.weight.dtype == folded.bias.dtype == torch.float32


def test_a_pair_whose_weight_is_read_deep_inside_a_model_stays():
    check_model(nn.Sequential(nn.Sequential(ReadsTheWeight())), torch.randn(5, 4), left=1)


class WithReLU(nn.BatchNorm1d):
    def forward(self, x):
        return super().forward(x).relu()


def test_a_norm_of_a_class_that_does_more_stays():
    model = nn.Sequential(nn.Linear(6, 4).double(), random_norm(WithReLU)).eval()
    with pytest.raises(TypeError, match=r"does nothing else \(got WithReLU\)"):
        fold_pair(*model)
    assert isinstance(fold_model(model)[1], WithReLU)


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_pair_with_a_hook_stays(where, hook):
    model = nn.Sequential(nn.Linear(6, 4).double(), random_norm(BatchNorm)).eval()
    getattr(model[where], hook)(lambda *_: None)
    with pytest.raises(ValueError, match=r"without hooks \(got some\): they are not folded$"):
        fold_pair(*model)
    assert isinstance(fold_model(model)[1], BatchNorm)


def test_the_channels_are_those_of_the_statistics():
    norm = random_norm(BatchNorm)
    norm.num_features = 7  # as a pruner may leave it
    fold_pair(nn.Linear(6, 4).double(), norm)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_in_low_precision_folding_computes_in_float32(dtype):
    layer, norm = nn.Linear(6, 4).to(dtype), BatchNorm(4, eps=1e-8, dtype=dtype).eval()
    norm.running_var.zero_()  # sqrt(0 + 1e-8) is 0 in float16
    assert fold_pair(layer, norm).bias.isfinite().all()
    assert fold_pair(layer, norm).weight.dtype == dtype


class ByKeyword(Wired):
    def forward(self, x):
        return self.norm(x=self.layer(x))


def test_a_norm_called_by_keyword_stays():
    check_model(ByKeyword(), torch.randn(5, 4), left=1)
