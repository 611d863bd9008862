"""Masked: batch norm of the valid positions, as torch.nn does it once they are put one after another."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from bnlib.layers import BatchNorm, BatchNorm1d, MaskedBatchNorm, fold_model

modes = pytest.mark.parametrize("mode", [True, False], ids=["training", "inference"])
double = pytest.mark.parametrize("dtype", [torch.float64], ids=str, indirect=True)
arguments = pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"momentum": None},
        {"eps": 1e-2, "momentum": 0.7},
        {"affine": False},
        {"track_running_stats": False},
    ],
    ids=str,
)
MASKS = {
    "ragged": torch.arange(5) < torch.tensor([5, 2, 0, 3]).unsqueeze(1),  # full, ragged and empty
    "all valid": torch.ones(4, 5, dtype=torch.bool),
    "anywhere": torch.rand(4, 5, generator=torch.Generator().manual_seed(0)) < 0.5,
}


@pytest.fixture
def shape():
    return 4, 3, 5


@pytest.fixture
def mask():
    return MASKS["ragged"]


def concatenated(x, mask):
    """The valid positions of every sequence, one after another: (1, C, m)."""
    return torch.cat([sequence[:, valid] for sequence, valid in zip(x, mask, strict=True)], dim=1)[None]


@arguments
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_it_is_torchs_batch_norm_of_the_valid_positions_one_after_another(
    new_batch, mask, twins, train_alike, arguments
):
    _, theirs = twins(3, 3, **arguments, dtype=new_batch().dtype)
    ours = MaskedBatchNorm(3, **arguments, dtype=new_batch().dtype)
    ours.load_state_dict(theirs.state_dict())
    for mode in (True, True, True, False):
        valid = partial(concatenated, mask=mask)
        train_alike(ours.train(mode), theirs.train(mode), new_batch(), view=valid, mask=mask)


@double
def test_the_running_variance_is_the_unbiased_one_of_the_valid_values(x, mask, agree):
    norm = MaskedBatchNorm(3, momentum=1.0, dtype=x.dtype)
    norm(x, mask)
    agree(norm.running_mean, concatenated(x, mask)[0].mean(dim=1))
    agree(norm.running_var, concatenated(x, mask)[0].var(dim=1, correction=1))


@modes
def test_the_padding_comes_out_zero_and_gets_no_gradient(x, dy, mask, unlike_new, mode):
    norm = unlike_new(MaskedBatchNorm(3, dtype=x.dtype)).train(mode)
    y = norm(x.requires_grad_(), mask)
    y.backward(dy)
    padding = ~mask.unsqueeze(1).expand_as(x)
    assert torch.all(y[padding] == 0)
    assert torch.all(x.grad[padding] == 0)
    assert torch.all(x.grad[~padding] != 0)


@modes
@pytest.mark.parametrize("value", [1e30, torch.nan, torch.inf])
def test_what_stands_in_the_padding_does_not_matter(x, dy, mask, unlike_new, mode, value, same_state):
    norm = unlike_new(MaskedBatchNorm(3, dtype=x.dtype)).train(mode)
    twin = copy.deepcopy(norm)
    strange = x.masked_fill(~mask.unsqueeze(1), value).requires_grad_()
    y, y_strange = norm(x.requires_grad_(), mask), twin(strange, mask)
    torch.testing.assert_close(y_strange, y, rtol=0, atol=0)
    y.backward(dy), y_strange.backward(dy)
    torch.testing.assert_close(strange.grad, x.grad, rtol=0, atol=0)
    same_state(twin, norm)


@double
def test_counting_zero_padding_as_data_would_be_wrong(x, mask):
    norm, naive = MaskedBatchNorm(3, dtype=x.dtype), nn.BatchNorm1d(3, dtype=x.dtype)
    norm(x, mask), naive(x * mask.unsqueeze(1))
    # half of the values are padding, so half of the mean is gone
    valid = mask.float().mean()
    torch.testing.assert_close(naive.running_mean, valid * norm.running_mean, rtol=1e-12, atol=0)


@double
@modes
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_both_derivatives_are_those_of_central_differences(x, mask, unlike_new, check, mode):
    norm = unlike_new(MaskedBatchNorm(3, eps=1e-2, dtype=x.dtype)).train(mode)

    def call(x, weight, bias):
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x, mask))

    assert check(call, [x.requires_grad_(), *norm.parameters()])


@double
def test_at_inference_the_mask_only_zeroes(x, mask, unlike_new, agree, same_state):
    norm = unlike_new(MaskedBatchNorm(3, dtype=x.dtype)).eval()
    theirs, before = nn.BatchNorm1d(3, dtype=x.dtype).eval(), copy.deepcopy(norm)
    theirs.load_state_dict(norm.state_dict())
    agree(norm(x, mask), theirs(x) * mask.unsqueeze(1))
    assert torch.all(norm(x, torch.zeros_like(mask)) == 0)
    same_state(norm, before)


@double
def test_masked_images_are_normalized_too(generator, dtype, agree, same_state, tolerance):
    x = 3 + torch.randn(2, 3, 4, 5, generator=generator, dtype=dtype)
    norm, theirs = MaskedBatchNorm(3, dtype=dtype), nn.BatchNorm2d(3, dtype=dtype)
    mask = (torch.arange(4) < 3).unsqueeze(1).expand(2, 4, 5)  # the last row of each image is padding
    agree(norm(x, mask)[:, :, :3], theirs(x[:, :, :3]))
    same_state(norm, theirs, 50 * tolerance)


def test_a_half_input_gives_what_the_layer_gives(x, mask):
    norm, layer, valid = MaskedBatchNorm(3), BatchNorm1d(3), concatenated(x.half(), mask)
    torch.testing.assert_close(concatenated(norm(x.half(), mask), mask), layer(valid), rtol=2e-3, atol=2e-3)


def test_the_output_lies_in_memory_as_the_input_does(x, mask):
    assert MaskedBatchNorm(3, dtype=x.dtype)(x, mask).stride() == x.stride()


@modes
@double
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        *(
            (torch.ones(shape).bool(), ValueError, r"expected a mask of shape \(4, 5\) \(got ")
            for shape in ((4,), (5, 4), (4, 1), (4, 3, 5), (1, 5))
        ),
        *(
            (torch.ones(4, 5, dtype=dtype), TypeError, rf"mask of torch.bool \(got {dtype}\)")
            for dtype in (torch.float32, torch.uint8, torch.int64)
        ),
    ],
)
def test_a_mask_of_another_shape_or_dtype_is_refused_and_moves_nothing(
    x, same_state, wrong, error, message, mode
):
    norm = MaskedBatchNorm(3, dtype=x.dtype).train(mode)
    before = copy.deepcopy(norm)
    with pytest.raises(error, match=message):
        norm(x, wrong)
    same_state(norm, before)


@double
@arguments
def test_a_single_valid_position_is_refused_in_training_and_moves_nothing(x, arguments, same_state):
    norm = MaskedBatchNorm(3, **arguments, dtype=x.dtype)
    before = copy.deepcopy(norm)
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[0, 0] = True
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm(x, mask)
    same_state(norm, before)


@double
def test_nothing_but_padding_is_an_empty_batch(x, same_state):
    norm = MaskedBatchNorm(3, dtype=x.dtype)
    y = norm(x, torch.zeros(4, 5, dtype=torch.bool))
    torch.testing.assert_close(y, torch.zeros_like(x), rtol=0, atol=0)
    empty = BatchNorm(3, dtype=x.dtype)
    empty(x[:0])
    same_state(norm, empty)


@double
def test_wrong_channels_and_dimensions_are_refused(x, mask):
    norm = MaskedBatchNorm(3, dtype=x.dtype)
    with pytest.raises(RuntimeError, match=r"3 channels \(got 2\)"):
        norm(x[:, :2], mask)
    with pytest.raises(ValueError, match=r"at least 2D input \(got 1D input\)"):
        norm(x[0, :, 0], mask)


def test_folding_leaves_a_masked_norm_where_it_is():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv1d(2, 3, 1), MaskedBatchNorm(3)

        def forward(self, x, mask):
            return self.norm(self.conv(x), mask)

    model = Model().eval()
    x, mask = torch.randn(4, 2, 5), torch.rand(4, 5) > 0.3
    folded = fold_model(model)
    assert isinstance(folded.norm, MaskedBatchNorm)
    torch.testing.assert_close(folded(x, mask), model(x, mask))


# --- compiled and traced


@double
@modes
# torch's own: it fails to compile the last line, and runs it as it is written
@pytest.mark.filterwarnings("ignore:Error detected in torch..autograd..CopySlices")
def test_compiled_it_follows_the_mask(new_batch, dy, agree, same_state, unlike_new, mode):
    torch.compiler.reset()
    norm = unlike_new(MaskedBatchNorm(3, dtype=dy.dtype)).train(mode)
    plain = copy.deepcopy(norm)
    compiled = torch.compile(norm, backend="aot_eager")
    for mask in MASKS.values():
        x = new_batch()
        y, y_plain = compiled(x, mask), plain(x, mask)
        agree(y, y_plain)
        y.backward(dy), y_plain.backward(dy)
        agree(norm.weight.grad, plain.weight.grad, times=50)
        same_state(norm, plain, 1e-12)


@double
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traced_it_follows_the_mask_but_lets_a_single_position_in(new_batch, mask, agree, same_state):
    norm = MaskedBatchNorm(3, dtype=new_batch().dtype)
    program, plain = torch.jit.trace(norm, (new_batch(), mask), check_trace=False), copy.deepcopy(norm)
    plain.load_state_dict(program.state_dict())  # to trace is to run
    for mask in MASKS.values():
        x = new_batch()
        agree(program(x, mask), plain(x, mask))
        same_state(program, plain, 1e-6)  # a trace takes m / (m - 1) in float32, of tensors
    single = torch.zeros_like(mask)
    single[0, 0] = True
    program(new_batch(), single)
    assert program.running_var.isnan().all()  # as the docstring warns


@double
def test_one_graph_and_an_exported_program_are_refused(x, mask, same_state):
    torch.compiler.reset()
    norm = MaskedBatchNorm(3, dtype=x.dtype)
    with pytest.raises(Exception, match="data-dependent"):
        torch.compile(norm, fullgraph=True, backend="aot_eager")(x, mask)
    with pytest.raises(Exception, match="data-dependent"):
        torch.export.export(norm, (x, mask))
    same_state(norm, MaskedBatchNorm(3, dtype=x.dtype))
