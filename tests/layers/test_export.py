"""ONNX: exported, folded or not, the layer does elsewhere what it does here.

These tests need requirements-frameworks.txt: the exporter, ONNX's own reference evaluator, and a runtime.
"""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from bnlib.layers import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, FrozenBatchNorm, fold_model

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
reference = pytest.importorskip("onnx.reference")

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}

dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def exported(model, x):
    """The model as ONNX, at any batch size."""
    with warnings.catch_warnings():  # the exporter uses what torch itself calls deprecated
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model, (x,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("n", min=1)},), verbose=False
        )
    proto = program.model_proto
    onnx.checker.check_model(proto, full_check=True)
    return proto


def by_the_reference(proto, x):
    (y,) = reference.ReferenceEvaluator(proto).run(None, {proto.graph.input[0].name: x.numpy()})
    return torch.from_numpy(np.asarray(y))


def by_the_runtime(proto, x):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {proto.graph.input[0].name: x.numpy()})
    return torch.from_numpy(y)


def trained(norm):
    """Parameters and statistics as no new layer has them."""
    generator = torch.Generator().manual_seed(0)
    for name, v in norm.state_dict(keep_vars=True).items():
        if v.is_floating_point():
            v.data.copy_(torch.rand(v.shape, generator=generator) + (0.1 if name == "running_var" else -0.5))
    return norm.eval()


def agree(proto, model, shape, dtype, runs=(by_the_reference, by_the_runtime)):
    for n in (1, 4):
        x = torch.randn((n, *shape), generator=torch.Generator().manual_seed(n), dtype=torch.float64).to(
            dtype
        )
        for run in runs:
            y = run(proto, x)
            torch.testing.assert_close(
                y, model(x).detach(), rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype]
            )


LAYERS = {
    "dense": (BatchNorm1d, (3,)),
    "sequence": (BatchNorm1d, (3, 5)),
    "images": (BatchNorm2d, (3, 4, 5)),
    "volumes": (BatchNorm3d, (3, 2, 4, 3)),
    "any rank": (BatchNorm, (3, 4, 5)),
    "frozen": (FrozenBatchNorm, (3, 4, 5)),
    "torch.nn's": (nn.BatchNorm2d, (3, 4, 5)),
}


@dtypes
@pytest.mark.parametrize(("kind", "shape"), LAYERS.values(), ids=LAYERS)
def test_the_exported_layer_is_the_layer(kind, shape, dtype):
    norm = trained(kind(3, dtype=dtype))
    agree(exported(norm, torch.randn(2, *shape, dtype=dtype)), norm, shape, dtype)


@pytest.mark.parametrize("arguments", [{"affine": False}, {"bias": False}, {"eps": 0.125}], ids=str)
def test_so_it_is_with_every_argument_that_counts_at_inference(arguments):
    # 0.125 is a float32: with eps = 0.1 an export is 1.5e-9 off, because ONNX gets it in float32, torch's too
    norm = trained(BatchNorm2d(3, **arguments, dtype=torch.float64))
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    agree(exported(norm, x), norm, (3, 4, 5), torch.float64)


@dtypes
@pytest.mark.parametrize("folded", [False, True], ids=["unfolded", "folded"])
def test_the_exported_model_is_the_model_folded_or_not(folded, dtype):
    torch.manual_seed(0)
    norms = trained(BatchNorm(3)), trained(BatchNorm(5))
    convolution, linear = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(3 * 4 * 4, 5, bias=False)
    model = nn.Sequential(convolution, norms[0], nn.ReLU(), nn.Flatten(), linear, norms[1]).to(dtype).eval()
    proto = exported(fold_model(model) if folded else model, torch.randn(2, 2, 4, 4, dtype=dtype))
    # onnxruntime has no convolution in float64 on the CPU
    runs = (by_the_reference,) if dtype == torch.float64 else (by_the_reference, by_the_runtime)
    agree(proto, model, (2, 4, 4), dtype, runs)
    # of the norms, a folded program has nothing left
    assert ("Div" in {node.op_type for node in proto.graph.node}) != folded
