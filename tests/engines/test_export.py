"""ONNX: exported, folded or not, the layer does elsewhere what it does here.

Most of them need requirements-frameworks.txt: the exporter, ONNX's own reference evaluator, and a runtime.
"""

import pytest
import torch
from torch import nn

from bnlib.engines import can_export, run_onnx, to_onnx
from bnlib.layers import (
    BatchNorm,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    FrozenBatchNorm,
    GuardedBatchNorm,
    fold_model,
)

exporter = pytest.mark.skipif(not can_export(), reason="the exporter is not installed")

ENGINES = ["reference evaluator", "onnxruntime"]
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}

dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def trained(norm):
    """Parameters and statistics as no new layer has them."""
    generator = torch.Generator().manual_seed(0)
    for name, v in norm.state_dict(keep_vars=True).items():
        if v.is_floating_point():
            v.data.copy_(torch.rand(v.shape, generator=generator) + (0.1 if name == "running_var" else -0.5))
    return norm.eval()


def agree(program, model, shape, dtype, engines=ENGINES):
    for n in (1, 4):
        x = torch.randn((n, *shape), generator=torch.Generator().manual_seed(n), dtype=torch.float64).to(
            dtype
        )
        outputs = run_onnx(program, x)
        assert list(outputs) == engines
        for y in outputs.values():
            tolerance = TOLERANCE[dtype]
            torch.testing.assert_close(y, model(x).detach(), rtol=tolerance, atol=10 * tolerance)


def operations(program):
    return [node.op_type for node in program.graph.node]


LAYERS = {
    "dense": (BatchNorm1d, (3,)),
    "sequence": (BatchNorm1d, (3, 5)),
    "images": (BatchNorm2d, (3, 4, 5)),
    "volumes": (BatchNorm3d, (3, 2, 4, 3)),
    "any rank": (BatchNorm, (3, 4, 5)),
    "frozen": (FrozenBatchNorm, (3, 4, 5)),
    "torch.nn's": (nn.BatchNorm2d, (3, 4, 5)),
}


@exporter
@dtypes
@pytest.mark.parametrize(("kind", "shape"), LAYERS.values(), ids=LAYERS)
def test_the_exported_layer_is_the_layer(kind, shape, dtype):
    norm = trained(kind(3, dtype=dtype))
    agree(to_onnx(norm, torch.randn(2, *shape, dtype=dtype)), norm, shape, dtype)


@exporter
@pytest.mark.parametrize("arguments", [{"affine": False}, {"bias": False}, {"eps": 0.125}], ids=str)
def test_so_it_is_with_every_argument_that_counts_at_inference(arguments):
    # 0.125 is a float32; with eps = 0.1 an export is 1.5e-9 off, as the exporter writes float32, torch's too
    norm = trained(BatchNorm2d(3, **arguments, dtype=torch.float64))
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    agree(to_onnx(norm, x), norm, (3, 4, 5), torch.float64)


@exporter
@dtypes
@pytest.mark.parametrize("folded", [False, True], ids=["unfolded", "folded"])
def test_the_exported_model_is_the_model_folded_or_not(folded, dtype):
    torch.manual_seed(0)
    norms = trained(BatchNorm(3)), trained(BatchNorm(5))
    convolution, linear = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(3 * 4 * 4, 5, bias=False)
    model = nn.Sequential(convolution, norms[0], nn.ReLU(), nn.Flatten(), linear, norms[1]).to(dtype).eval()
    program = to_onnx(fold_model(model) if folded else model, torch.randn(2, 2, 4, 4, dtype=dtype))
    # onnxruntime has no convolution in float64 on the CPU
    engines = ENGINES[:1] if dtype == torch.float64 else ENGINES
    agree(program, model, (2, 4, 4), dtype, engines)
    assert operations(program) == ["Conv", "Relu", "Reshape", "Gemm"]


@exporter
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNorm2d, BatchNorm, FrozenBatchNorm, GuardedBatchNorm])
def test_a_norm_melts_into_the_convolution_before_it_and_is_one_operation_elsewhere(kind):
    # Ours were four operations, which onnxruntime left where they were.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), trained(kind(3)), nn.ReLU(), trained(kind(3))).eval()
    program = to_onnx(model, torch.randn(2, 2, 4, 4))
    assert operations(program) == ["Conv", "Relu", "BatchNormalization"]
    agree(program, model, (2, 4, 4), torch.float32)
    assert type(model[1]) is type(model[3]) is kind


class WithReLU(BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()


@exporter
def test_beside_a_norm_that_does_more_all_are_written_as_they_are():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), trained(BatchNorm2d(3)), trained(WithReLU(3))).eval()
    program = to_onnx(model, torch.randn(2, 2, 4, 4))
    assert "BatchNormalization" not in operations(program)
    agree(program, model, (2, 4, 4), torch.float32)


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"eval mode \(got training mode\)"):
        to_onnx(BatchNorm1d(3), torch.randn(4, 3))


def test_a_single_norm_left_in_training_mode_is_refused_by_name():
    # It was exported in silence, with the statistics of each batch.
    model = nn.Sequential(nn.Linear(3, 3), BatchNorm1d(3)).eval()
    model[1].train()
    with pytest.raises(ValueError, match=r"eval mode \(got training mode in submodule 1\)"):
        to_onnx(model, torch.randn(4, 3))
