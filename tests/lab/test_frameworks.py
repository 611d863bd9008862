"""The frameworks' own layers, asked: those that are installed, and always PyTorch."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch

from bnlib.lab import frameworks
from bnlib.lab.frameworks import (
    FRAMEWORKS,
    FlaxLayer,
    FlaxStableLayer,
    KerasLayer,
    OnnxLayer,
    TorchLayer,
    computes_in,
    default_eps,
    default_momentum,
    installed,
    kept_variance,
    moves_at_inference,
    normalizing_variance,
    of_one_value,
    output_errors,
    starting_statistics,
    weighs_by_size,
    what_momentum_weighs,
)
from bnlib.reference import Population, batch_norm_forward, inference_batch_norm


@pytest.fixture(params=FRAMEWORKS, ids=lambda layer: layer.convention.name)
def layer(request):
    need(request.param)
    return request.param


def need(layer):
    if not any(issubclass(layer, one) for one in installed()):
        pytest.skip(f"needs {', '.join(layer.packages)}: make frameworks")


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    return np.array([3.0, -2.0, 0.5]) + np.array([2.0, 0.3, 1.0]) * rng.normal(size=(6, 3))


def test_what_a_framework_does_is_what_its_convention_says(layer):
    said = layer.convention
    assert kept_variance(layer) == said.kept
    assert what_momentum_weighs(layer) == said.momentum_weighs
    assert default_momentum(layer) == said.momentum
    assert default_eps(layer) == said.eps
    if said.mean is not None:
        np.testing.assert_array_equal(starting_statistics(layer), [[said.mean], [said.var]])


def test_all_normalize_with_the_biased_variance(layer):
    assert normalizing_variance(layer) == "biased"


def test_no_framework_weighs_a_batch_by_its_size_or_moves_at_inference(layer):
    assert not weighs_by_size(layer)
    assert not moves_at_inference(layer)


def test_only_pytorch_refuses_one_value_per_channel(layer):
    assert of_one_value(layer) == ("ValueError" if layer is TorchLayer else "0")


def test_only_keras_computes_in_float32_when_asked_for_float64(layer):
    assert computes_in(layer) == ("float32" if layer is KerasLayer else "float64")


def test_onnx_rounds_its_momentum_to_float32():
    need(OnnxLayer)
    norm = OnnxLayer(1)
    norm.load(Population(np.ones(1), np.ones(1)))
    norm.train([[0.0], [0.0]])
    assert norm.statistics().mean[0] == float(np.float32(0.9)) != 0.9


def test_the_reference_evaluator_mixes_batch_statistics_into_inference_at_opset_9():
    # Not what the specification says, and why the adapter asks at opset 15: onnx pull request 8442.
    need(OnnxLayer)
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    inputs = {"X": np.array([[1.0], [2.0], [6.0]]), "s": [1.0], "b": [0.0], "m": [0.0], "v": [1.0]}
    inputs = {name: np.asarray(value) for name, value in inputs.items()}
    node = helper.make_node("BatchNormalization", [*inputs], ["Y"], epsilon=0.0)
    double = [helper.make_tensor_value_info(name, 11, None) for name in (*inputs, "Y")]
    graph = helper.make_graph([node], "batch_norm", double[:-1], double[-1:])
    y = {
        opset: ReferenceEvaluator(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        ).run(None, inputs)[0]
        for opset in (9, 15)
    }
    np.testing.assert_array_equal(y[15], inputs["X"])
    mean, var = 0.1 * 3, 0.9 + 0.1 * 14 / 3
    np.testing.assert_allclose(y[9], (inputs["X"] - mean) / np.sqrt(var), rtol=1e-6)


def test_a_frozen_layer_of_keras_uses_the_kept_statistics_and_leaves_them():
    need(KerasLayer)
    norm = KerasLayer(1, eps=1e-12)
    norm._layer.trainable = False
    before = norm.statistics()
    np.testing.assert_allclose(norm.train([[1.0], [2.0], [6.0]]), [[1], [2], [6]], rtol=1e-6)
    np.testing.assert_array_equal(norm.statistics(), before)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5)], ids=str)
def test_training_is_the_reference_with_the_frameworks_eps(layer, shape):
    x = np.random.default_rng(0).normal(2, 3, size=shape)
    tolerance = 1e-12 if computes_in(layer) == "float64" else 1e-5
    y, _ = batch_norm_forward(x, np.ones(3), np.zeros(3), eps=0.25)  # 0.25: ONNX holds it exactly
    np.testing.assert_allclose(layer(3, eps=0.25).train(x), y, rtol=tolerance, atol=tolerance)


def test_inference_is_the_reference_with_what_was_loaded(layer, x):
    mean, var = np.array([0.5, -1.0, 2.0]), np.array([4.0, 1.0, 0.25])
    norm = layer(3, eps=0.25)
    norm.load(Population(mean, var))
    tolerance = 1e-12 if computes_in(layer) == "float64" else 1e-5
    y = inference_batch_norm(x, np.ones(3), np.zeros(3), mean, var, eps=0.25)
    np.testing.assert_allclose(norm.infer(x), y, rtol=tolerance, atol=tolerance)


def test_statistics_once_read_do_not_move(layer, x):
    norm = layer(3)
    before = norm.statistics()
    norm.train(x)
    assert not np.array_equal(before, norm.statistics())


def test_what_is_loaded_is_a_copy(layer, x):
    mean, var = np.zeros(3), np.ones(3)
    norm = layer(3)
    norm.load(Population(mean, var))
    norm.train(x)
    assert not mean.any() and np.all(var == 1)


def test_versions_name_every_package(layer):
    assert all(f"{package} " in layer.versions() for package in layer.packages)


# Digits lost when the mean is large.


def test_subtracting_before_squaring_loses_little_at_a_mean_of_1000(layer):
    if layer not in (KerasLayer, FlaxLayer):
        assert output_errors(layer, [1000.0]) < 0.01


def test_flax_without_its_fast_variance_loses_little():
    need(FlaxStableLayer)
    assert output_errors(FlaxStableLayer, [1000.0]) < 0.01
    assert normalizing_variance(FlaxStableLayer) == kept_variance(FlaxStableLayer) == "biased"


@pytest.mark.parametrize("layer", [KerasLayer, FlaxLayer], ids=lambda layer: layer.convention.name)
def test_the_difference_of_squares_loses_the_variance_at_a_mean_of_100000(layer):
    need(layer)
    (error,) = output_errors(layer, [1e5])
    assert np.isnan(error) or error > 1


# What is there, and what is not.


def test_pytorch_is_always_there():
    assert installed()[0] is TorchLayer


def test_a_framework_that_is_missing_is_left_out(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        frameworks.importlib.util, "find_spec", lambda name: None if name in ("keras", "jax") else find(name)
    )
    assert KerasLayer not in installed() and FlaxLayer not in installed()


def test_importing_the_lab_imports_no_other_framework():
    program = (
        "import sys, bnlib.lab; others = ('keras', 'jax', 'flax', 'onnx'); "
        "sys.exit(', '.join(name for name in others if sys.modules.get(name)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_keras_is_put_on_torch_without_a_word():
    need(KerasLayer)
    program = "from bnlib.lab.frameworks import KerasLayer; KerasLayer(2).train([[1.0, 2.0], [3.0, 5.0]])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_keras_on_another_backend_is_refused(monkeypatch):
    need(KerasLayer)
    KerasLayer(1)
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match=r"expected Keras on its torch backend \(got jax\)"):
        KerasLayer(1)


def test_gradients_are_not_recorded():
    norm = TorchLayer(1)
    assert not torch.from_numpy(norm.train([[1.0], [2.0]])).requires_grad
