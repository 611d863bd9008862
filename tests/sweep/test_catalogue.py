"""The experiments as data: each is stated in full, and runs."""

import dataclasses

import numpy as np
import pytest

from bnlib.sweep import EXPERIMENTS, grid, run_experiment


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_experiment_is_stated_in_full(experiment):
    assert experiment.question.endswith(("?", "."))
    assert experiment.looks[0] == 0
    assert list(experiment.looks) == sorted(set(experiment.looks))
    assert experiment.seeds >= 3
    assert experiment.minutes > 0
    assert len(set(experiment.settings)) == len(experiment.cases)  # each is valid, and there once


def test_figure1_is_the_papers_length_with_ten_seeds():
    figure1 = EXPERIMENTS["figure1"]
    assert (figure1.looks[-1], figure1.seeds) == (50_000, 10)
    assert {(s.batch_size, s.hidden_layers, s.width, s.activation) for s in figure1.settings} == {
        (60, 3, 100, "sigmoid")
    }


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_experiment_runs(experiment, mnist):
    short = dataclasses.replace(
        experiment, cases=experiment.cases[:: len(experiment.cases) - 1], looks=(0, 2)
    )
    if any(setting.batch_size > 300 for setting in short.settings):
        short = dataclasses.replace(short, cases=grid(norm=("before",), batch_size=(2,)))
    record = run_experiment(short, mnist, seeds=2, progress=False)
    for run in record.series:
        assert {"accuracy", "loss"} <= run.values.keys()
        assert all(np.isfinite(values[1:]).all() for values in run.values.values())
