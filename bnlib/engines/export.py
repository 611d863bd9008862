"""ONNX: a model written down for other engines, and run by those that are installed."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlib.layers import as_torch

__all__ = ["can_export", "run_onnx", "to_onnx"]


def can_export() -> bool:
    """Whether the exporter, and what runs its files, are installed: they are in requirements-frameworks.txt."""
    found = find_spec("onnx"), find_spec("onnxruntime"), find_spec("onnxscript")
    return None not in found


def to_onnx(model: nn.Module, example: Tensor):
    """A model with one input and one output as an ONNX program, for batches of any size.

    Parameters
    ----------
    model : nn.Module
        In eval mode, all of it.
    example : (N, ...)
        An input; only its shape behind the batch and its dtype count.

    Returns
    -------
    onnx.ModelProto
        Checked against the specification. The exporter writes eps in float32, whatever the model's dtype.
        It knows torch.nn's norms: behind a convolution or a linear layer they melt into it, and elsewhere
        each is one BatchNormalization. Ours are written as those, unless one of them does more in eval mode
        too (a mask, an activation): then all of them are written operation by operation.

    Raises
    ------
    ValueError
        If a part of the model is in training mode: an engine would go on with the statistics of each batch.
    """
    training = [name for name, part in model.named_modules() if part.training]
    if training:
        where = f" in submodule {training[0]}" if training[0] else ""
        raise ValueError(
            f"expected a model in eval mode (got training mode{where}): call eval() first"
        )
    import onnx

    with suppress(TypeError):
        model = as_torch(model, plain=_OfAnyRank)
    any_size = {0: torch.export.Dim("n", min=1)}
    with _quiet_exporter():
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            dynamic_shapes=(any_size,),
            verbose=False,
        ).model_proto
    onnx.checker.check_model(program, full_check=True)
    return program


def run_onnx(program, x: Tensor) -> dict[str, Tensor]:
    """What an `onnx.ModelProto` makes of an input, by the name of the engine that ran it.

    The engines are the reference evaluator and onnxruntime; the latter is left out where it has no kernel,
    as for convolutions in float64.
    """
    import onnxruntime
    from onnx.reference import ReferenceEvaluator

    inputs = {program.graph.input[0].name: x.numpy()}
    outputs = {
        "reference evaluator": ReferenceEvaluator(program).run(None, inputs)
    }
    try:
        session = onnxruntime.InferenceSession(
            program.SerializeToString(), providers=["CPUExecutionProvider"]
        )
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        pass
    else:
        outputs["onnxruntime"] = session.run(None, inputs)
    return {
        engine: torch.from_numpy(np.asarray(y))
        for engine, (y,) in outputs.items()
    }


class _OfAnyRank(_BatchNorm):
    """The norm of torch.nn that `BatchNorm` becomes: for an input of any rank."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter uses what torch itself calls deprecated, and logs that torchvision is not there."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
