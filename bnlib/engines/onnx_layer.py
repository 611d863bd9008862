"""ONNX, asked by way of its specification's reference evaluator."""

import numpy as np

from bnlib.reference import ONNX

from .base import FrameworkLayer

__all__ = ["OnnxLayer"]


class OnnxLayer(FrameworkLayer):
    """ONNX's BatchNormalization, opset 15, in the reference evaluator; the running statistics go in and out."""

    convention = ONNX
    packages = ("onnx",)

    def _build(self, settings):
        self._settings = settings
        # An operator has no state of its own; the start at 0 and 1 is this class's choice.
        self._vectors = {
            name: np.full(self.channels, start, self.dtype)
            for name, start in zip(ONNX.names, (1, 0, 0, 1), strict=True)
        }

    def _call(self, x, training):
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        inputs = {"X": x, **self._vectors}
        outputs = ["Y", "running_mean", "running_var"][: 3 if training else 1]
        settings = {"training_mode": int(training), **self._settings}
        node = helper.make_node(
            "BatchNormalization", [*inputs], outputs, **settings
        )
        opsets = [helper.make_opsetid("", 15)]
        program = helper.make_function(
            "", "norm", [*inputs], outputs, [node], opsets
        )
        y, *moved = ReferenceEvaluator(program).run(None, inputs, attributes={})
        if training:
            self._set(*moved)
        return y

    def _get(self):
        return self._vectors["input_mean"], self._vectors["input_var"]

    def _set(self, mean, var):
        self._vectors |= {"input_mean": mean, "input_var": var}
