"""Every framework's layer behind the same four methods: against the reference, with no strings attached."""

import numpy as np
import pytest

from bnlib.engines import FRAMEWORKS, Keras2FusedLayer, Keras2Layer, OnnxRuntimeLayer, computes_in
from bnlib.reference import Population, batch_norm_forward, inference_batch_norm

everyone = pytest.mark.parametrize(
    "layer",
    [*FRAMEWORKS, OnnxRuntimeLayer, Keras2Layer, Keras2FusedLayer],
    ids=lambda c: c.__name__,
    indirect=True,
)


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    return np.array([3.0, -2.0, 0.5]) + np.array([2.0, 0.3, 1.0]) * rng.normal(size=(6, 3))


def assert_close(layer, ours, reference):
    tolerance = 1e-12 if computes_in(layer) == "float64" else 1e-5
    np.testing.assert_allclose(ours, reference, rtol=tolerance, atol=tolerance)


@everyone
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5)], ids=str)
def test_training_is_the_reference_with_the_frameworks_eps(layer, shape):
    x = np.random.default_rng(0).normal(2, 3, size=shape)
    y, _ = batch_norm_forward(x, np.ones(3), np.zeros(3), eps=0.25)  # 0.25: ONNX holds it exactly
    assert_close(layer, layer(3, eps=0.25).train(x), y)


@everyone
def test_inference_is_the_reference_with_what_was_loaded(layer, x):
    mean, var = np.array([0.5, -1.0, 2.0]), np.array([4.0, 1.0, 0.25])
    norm = layer(3, eps=0.25)
    norm.load(Population(mean, var))
    y = inference_batch_norm(x, np.ones(3), np.zeros(3), mean, var, eps=0.25)
    assert_close(layer, norm.infer(x), y)


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


@everyone
def test_versions_name_every_package(layer):
    assert all(f"{package} " in layer.versions() for package in layer.packages)
