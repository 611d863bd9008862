"""Records: they come back as they were, and nothing else is taken for one."""

import json
import os

import msgspec
import numpy as np
import pytest

from bnlib.sweep import Data, Processor, Record, Series, read_record, records, write_record


def example(**changes):
    values = {
        "accuracy": np.array([0.1, 0.987654]),
        "loss": np.array([np.nan, 1.234567]),
        "percentiles": np.arange(12.0).reshape(2, 3, 2) - 5,
    }
    fields = {
        "experiment": "tiny",
        "question": "Does it work?",
        "settings": {"batch_size": 60, "varied": {"norm": [None, "before"]}},
        "seeds": [0, 1],
        "steps": [0, 10],
        "data": Data(name="noise", train=50, test=20, sha256="abc"),
        "versions": {"torch": "2"},
        "date": "2026-01-01",
        "duration_s": 1.5,
        "processor": Processor(model="one", cores=2, threads=1),
        "series": [Series({"norm": norm}, seed, values) for norm in (None, "before") for seed in (0, 1)],
    }
    return Record(**{**fields, **changes})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tiny.json"


@pytest.fixture
def content(path):
    write_record(path, example())
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_record_comes_back_as_it_was(path):
    write_record(path, example())
    back, then = read_record(path), example()
    for field in Record.__struct_fields__:
        if field != "series":
            assert getattr(back, field) == getattr(then, field)
    assert [(run.setting, run.seed) for run in back.series] == [(r.setting, r.seed) for r in then.series]
    assert np.array_equal(back.series[0].values["percentiles"], then.series[0].values["percentiles"])


def test_numbers_are_rounded_and_what_is_not_finite_is_null(content):
    values = content["series"][0]["values"]
    assert values["accuracy"] == [0.1, 0.9877]
    assert values["loss"] == [None, 1.235]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_diverged_comes_back_as_nan(path, bad):
    write_record(path, example(series=[Series({}, 0, {"loss": np.array([bad, 1])})]))
    assert np.array_equal(read_record(path).series[0].values["loss"], [np.nan, 1], equal_nan=True)


def test_writing_twice_gives_the_same_bytes(path):
    write_record(path, example())
    first = path.read_bytes()
    write_record(path, read_record(path))
    assert path.read_bytes() == first


def test_a_run_is_one_line(content, path):
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith('{"setting"')]
    assert len(lines) == len(content["series"])


@pytest.fixture
def numbered():
    """Two by two settings, two seeds; 20 times the accuracy is 0, 1, ... at first, ten more at last."""
    cases = [{"norm": norm, "rate": rate} for norm in (None, "before") for rate in (0.1, 1.0)]
    runs = [(case, seed) for case in cases for seed in (0, 1)]
    return example(
        settings={"varied": {"norm": [None, "before"], "rate": [0.1, 1.0]}},
        series=[Series(*run, {"accuracy": np.array([i, i + 10]) / 20}) for i, run in enumerate(runs)],
    )


def test_stack_takes_the_runs_of_a_setting_seed_by_seed(numbered):
    assert (20 * numbered.stack("accuracy", norm=None, rate=1.0)).tolist() == [[2, 12], [3, 13]]
    assert (20 * numbered.stack("accuracy", norm="before", rate=0.1, seed=1)).tolist() == [[5, 15]]
    assert example().stack("percentiles", norm=None).shape == (2, 2, 3, 2)


@pytest.mark.parametrize(
    ("name", "setting"), [("accuracy", {"norm": "after"}), ("speed", {"norm": None}), ("loss", {"x": 1})]
)
def test_what_was_not_run_cannot_be_stacked(name, setting):
    with pytest.raises(KeyError, match=f"no {name}"):
        example().stack(name, **setting)


def test_a_setting_left_open_is_named(numbered):
    with pytest.raises(ValueError, match=r"expected one setting of tiny \(got several of rate\)"):
        numbered.stack("accuracy", norm=None)
    with pytest.raises(ValueError, match="several of norm, rate"):
        numbered.final("accuracy")


def test_the_final_value_is_that_of_the_last_look_one_a_seed(numbered):
    assert (20 * numbered.final("accuracy", norm=None, rate=0.1)).tolist() == [10, 11]
    assert (20 * numbered.at(0, "accuracy", norm=None, rate=0.1)).tolist() == [0, 1]


def test_over_a_setting_there_is_a_column_for_each_of_its_values(numbered):
    assert (20 * numbered.final("accuracy", over="rate", norm="before")).tolist() == [[14, 16], [15, 17]]
    both = 20 * numbered.final("accuracy", over=("rate", "norm"))  # (seeds, rates, norms)
    assert both[0].tolist() == [[10, 14], [12, 16]]
    assert example().final("percentiles", over="norm").shape == (2, 2, 3, 2)


def test_a_step_without_a_look_is_refused(numbered):
    with pytest.raises(ValueError, match=r"looked at \(got 7\)"):
        numbered.at(7, "accuracy", norm=None, rate=0.1)


@pytest.fixture
def compared(numbered):
    """Two arms over two rates; only some cells have both seeds."""
    held_out = {
        (None, 0.1): (0.5, 0.6),
        (None, 1.0): (0.9,),
        ("before", 0.1): (0.7, 0.7),
        ("before", 1.0): (0.6, 0.9),
    }
    series = [
        Series({"norm": norm, "rate": rate}, seed, {"accuracy_validation": np.array([0.1, value])})
        for (norm, rate), values in held_out.items()
        for seed, value in enumerate(values)
    ]
    settings = {"varied": {"norm": [None, "before"], "rate": [0.1, 1.0]}, "tuned": ["rate"]}
    return msgspec.structs.replace(numbered, settings=settings, seeds=[0, 1], steps=[0, 10], series=series)


def test_an_arm_gets_its_best_cell_among_those_with_every_seed(compared):
    assert compared.chosen(norm=None) == {"rate": 0.1}
    assert compared.chosen(norm="before") == {"rate": 1.0}


def test_an_arm_that_is_none_or_several_is_refused(compared, numbered):
    with pytest.raises(ValueError, match="several of norm"):
        compared.chosen()
    for record, arm in ((compared, {"norm": "after"}), (numbered, {})):
        with pytest.raises(KeyError, match="no arm"):
            record.chosen(**arm)


def test_steps_to_a_level_are_those_of_the_first_look_that_reached_it(numbered):
    setting = {"norm": None, "rate": 0.1}
    assert numbered.steps_to(0.0, **setting).tolist() == [0, 0]
    assert numbered.steps_to(0.05, **setting).tolist() == [10, 0]
    assert np.isnan(numbered.steps_to(0.9, **setting)).all()


def remove(name):
    return lambda content: content.pop(name)


def put(value, *path):
    def change(content):
        *way, last = path
        for key in way:
            content = content[key]
        content[last] = value

    return change


DAMAGE = {
    "another schema": (put(2, "schema"), "schema"),
    "a field is missing": (remove("seeds"), "missing required field `seeds`"),
    "a field too many": (put(1, "more"), "unknown field `more`"),
    "a field of another type": (put("0", "seeds"), "seeds"),
    "a bool for a number": (put(True, "duration_s"), "duration_s"),
    "a seed that is no integer": (put([0, 1.5], "seeds"), "seeds"),
    "no steps": (put([], "steps"), "steps"),
    "steps that descend": (put([10, 0], "steps"), "ascending"),
    "settings that do not say what is varied": (put({}, "settings"), "varied"),
    "data without a sum": (put({"name": "x", "train": 1, "test": 1}, "data"), "sha256"),
    "a processor of another type": (put("2", "processor", "cores"), "cores"),
    "no runs": (put([], "series"), "series"),
    "a run without values": (put({"setting": {}, "seed": 0}, "series", 0), "values"),
    "a run of nothing": (put({}, "series", 0, "values"), "values"),
    "a seed that is not listed": (put(7, "series", 0, "seed"), "one of the seeds"),
    "too few looks": (put([0.1], "series", 0, "values", "accuracy"), "accuracy at 2 looks"),
    "a number for a list": (put(0.1, "series", 0, "values", "accuracy"), "lists of one length"),
    "text for a number": (put(["0.1", 0.2], "series", 0, "values", "accuracy"), "numbers in lists"),
    "ragged values": (put([[1, 2], [1]], "series", 0, "values", "loss"), "lists of one length"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_record_that_breaks_the_schema_is_refused(path, content, damage):
    change, complaint = DAMAGE[damage]
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=complaint) as error:
        read_record(path)
    assert str(path) in str(error.value)


NOT_RECORDS = {
    "foreign": b"hello",
    "empty": b"",
    "no text": b"\xff\xfe\x00",
    "other JSON": b"[1, 2]",
    "NaN": b"[NaN]",
}


@pytest.mark.parametrize("bytes_", NOT_RECORDS.values(), ids=NOT_RECORDS)
def test_a_foreign_file_is_neither_read_nor_overwritten(path, bytes_):
    path.write_bytes(bytes_)
    with pytest.raises(ValueError, match=r"tiny\.json"):
        read_record(path)
    with pytest.raises(ValueError, match=r"tiny\.json"):
        write_record(path, example())
    assert path.read_bytes() == bytes_


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_half_written_record_is_neither_read_nor_overwritten(path, content, share):
    half = path.read_bytes()[: int(share * path.stat().st_size)]
    path.write_bytes(half)
    with pytest.raises(ValueError, match="half-written"):
        write_record(path, example())
    assert path.read_bytes() == half


def test_a_record_of_another_experiment_is_not_overwritten(path):
    write_record(path, example(experiment="other"))
    with pytest.raises(ValueError, match="one of other"):
        write_record(path, example())
    assert read_record(path).experiment == "other"


def test_what_could_not_be_read_is_not_written(path):
    with pytest.raises(ValueError, match="2 looks"):
        write_record(path, example(series=[Series({}, 0, {"loss": np.zeros(3)})]))
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(path, monkeypatch, error):
    write_record(path, example())
    before = path.read_bytes()

    def fail(*_):
        raise error

    for call in ("chmod", "replace"):
        with monkeypatch.context() as patch, pytest.raises(type(error)):
            patch.setattr(records.os, call, fail)
            write_record(path, example(question="Another?"))
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]


def test_a_missing_record_is_said_to_be_missing(path):
    with pytest.raises(FileNotFoundError):
        read_record(path)


def test_others_may_read_a_record(path):
    write_record(path, example())
    assert os.stat(path).st_mode & 0o777 == 0o644
