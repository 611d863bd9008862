"""ONNX, asked by way of its specification's reference evaluator, and of onnxruntime."""

import numpy as np

from bnlib.reference import ONNX

from .base import FrameworkLayer

__all__ = ["OnnxLayer", "OnnxRuntimeLayer"]


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
        inputs = {"X": x, **self._vectors}
        y, *moved = self._run(self._program(inputs, training), inputs)
        if training:
            self._set(*moved)
        return y

    def _program(self, inputs, training):
        from onnx import checker, helper

        outputs = {"Y": inputs["X"]}
        if training:
            outputs |= {"mean": self._vectors["B"], "var": self._vectors["B"]}
        settings = {"training_mode": int(training), **self._settings}
        node = helper.make_node(
            "BatchNormalization", [*inputs], [*outputs], **settings
        )
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        described = (
            [
                helper.make_tensor_value_info(name, kind, array.shape)
                for name, array in arrays.items()
            ]
            for arrays in (inputs, outputs)
        )
        program = helper.make_model(
            helper.make_graph([node], "norm", *described),
            opset_imports=[helper.make_opsetid("", 15)],
            ir_version=8,
        )
        checker.check_model(program)
        return program

    def _run(self, program, inputs):
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(program).run(None, inputs)

    def _names(self):
        from onnx import defs

        schema = defs.get_schema("BatchNormalization", 15)
        return {vector.name for vector in schema.inputs} - {"X"}

    def _get(self):
        return self._vectors["input_mean"], self._vectors["input_var"]

    def _set(self, mean, var):
        self._vectors |= {"input_mean": mean, "input_var": var}


class OnnxRuntimeLayer(OnnxLayer):
    """The same operator, run by onnxruntime."""

    packages = ("onnx", "onnxruntime")

    def _run(self, program, inputs):
        import onnxruntime

        session = onnxruntime.InferenceSession(
            program.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return session.run(None, inputs)
