"""Noise for images, and an experiment that takes no time."""

import numpy as np
import pytest

from bnlib.lab import MNIST
from bnlib.sweep import EXPERIMENTS, Experiment, grid, probes


@pytest.fixture(scope="session")
def mnist():
    """Noise around ten random images: 300 to train on, 100 to test on."""
    rng = np.random.default_rng(0)
    centers = rng.integers(0, 200, size=(10, 28, 28))

    def draw(n):
        labels = rng.integers(0, 10, size=n).astype(np.uint8)
        return (centers[labels] + rng.integers(0, 55, size=(n, 28, 28))).astype(np.uint8), labels

    return MNIST(*draw(300), *draw(100), source="folder")


@pytest.fixture
def tiny(monkeypatch):
    """Four settings, two seeds, twelve steps."""
    experiment = Experiment(
        name="tiny",
        question="Is it small?",
        minutes=0.1,
        cases=grid(norm=(None, "before"), learning_rate=(0.1, 0.5)),
        looks=(0, 5, 12),
        seeds=2,
        probe=probes.last_percentiles,
        shared={"hidden_layers": 2, "width": 8, "batch_size": 10},
    )
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    return experiment
