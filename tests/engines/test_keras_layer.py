"""Keras: on PyTorch and in silence, or not at all."""

import os
import subprocess
import sys

import numpy as np
import pytest

from bnlib.engines import KerasLayer

pytestmark = pytest.mark.parametrize("layer", [KerasLayer], indirect=True)


def test_a_frozen_layer_uses_the_running_statistics_and_leaves_them(layer):
    norm = layer(1, eps=1e-12)
    norm._layer.trainable = False
    before = norm.statistics()
    np.testing.assert_allclose(norm.train([[1.0], [2.0], [6.0]]), [[1], [2], [6]], rtol=1e-6)
    np.testing.assert_array_equal(norm.statistics(), before)


def test_it_is_put_on_torch_without_a_word(layer):
    program = "from bnlib.engines import KerasLayer; KerasLayer(2).train([[1.0, 2.0], [3.0, 5.0]])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_backend_is_refused(layer, monkeypatch):
    layer(1)
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match=r"expected Keras on its torch backend \(got jax\)"):
        layer(1)


ELSEWHERE = """
import keras, numpy as np
for shape in ((3, 1), (3, 1, 1, 1)):
    norm = keras.layers.BatchNormalization(momentum=0.5)
    norm(np.array([1.0, 2.0, 6.0], np.float32).reshape(shape), training=True)
    print(keras.backend.backend(), 2 * float(norm.moving_variance[0]) - 1)
"""


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_on_other_backends_it_keeps_the_biased_variance_too_of_dense_inputs_and_of_images(layer, backend):
    pytest.importorskip(backend)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"KERAS_BACKEND": backend},
    )
    kept = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, _ in kept] == [backend, backend]
    np.testing.assert_allclose([float(variance) for _, variance in kept], 14 / 3, rtol=1e-6)
