"""Which frameworks are here, and that none is loaded before it is asked."""

import subprocess
import sys

from bnlib.engines import FlaxLayer, KerasLayer, TorchLayer, base, installed


def test_pytorch_is_always_there():
    assert installed()[0] is TorchLayer


def test_a_framework_that_is_missing_is_left_out(monkeypatch):
    find = base.find_spec
    monkeypatch.setattr(base, "find_spec", lambda name: None if name in ("keras", "jax") else find(name))
    assert KerasLayer not in installed() and FlaxLayer not in installed()


def test_importing_the_room_imports_no_other_framework():
    program = (
        "import sys, bnlib.engines; others = ('keras', 'jax', 'flax', 'onnx', 'onnxruntime', 'tf_keras'); "
        "sys.exit(', '.join(name for name in others if sys.modules.get(name)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
