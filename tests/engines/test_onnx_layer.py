"""ONNX: what its evaluator does besides what the specification says."""

import numpy as np
import pytest

from bnlib.engines import OnnxLayer
from bnlib.reference import Population

pytestmark = pytest.mark.parametrize("layer", [OnnxLayer], indirect=True)


def test_momentum_is_rounded_to_float32(layer):
    norm = layer(1)
    norm.load(Population(np.ones(1), np.ones(1)))
    norm.train([[0.0], [0.0]])
    assert norm.statistics().mean[0] == float(np.float32(0.9)) != 0.9


@pytest.mark.parametrize("opset", [9, 15])
def test_only_at_opset_9_are_batch_statistics_mixed_into_inference(layer, opset):
    # Not what the specification says, and why the adapter asks at opset 15: onnx pull request 8442.
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    x, zero, one = np.array([[1.0], [2.0], [6.0]]), np.zeros(1), np.ones(1)
    inputs = {"X": x, "scale": one, "B": zero, "mean": zero, "var": one}
    node = helper.make_node("BatchNormalization", [*inputs], ["Y"], epsilon=0.0)
    opsets = [helper.make_opsetid("", opset)]
    program = helper.make_function("", "norm", [*inputs], ["Y"], [node], opsets)
    (y,) = ReferenceEvaluator(program).run(None, inputs, attributes={})
    mean, var = (0.1 * 3, 0.9 + 0.1 * 14 / 3) if opset == 9 else (0, 1)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var), rtol=1e-6)
