"""The benchmark's own arithmetic, and that what it measures runs; nothing is asserted of any time."""

import json
import os

import numpy as np
import pytest

from benchmarks import training


def test_a_ratio_is_taken_round_by_round_with_the_models_own_loop():
    found = training.results(
        {
            "a: idiomatic loop": np.array([2.0, 4.0, 3.0]),
            "a: fast": np.array([1.0, 1.0, 1.0]),
            "b: idiomatic loop": np.array([8.0, 8.0, 8.0]),
            "b: fast": np.array([2.0, 1.0, 4.0]),
        }
    )
    ratios = {row: tuple(v["times faster than the idiomatic loop"].values()) for row, v in found.items()}
    assert ratios["a: fast"] == (3.0, 2.0, 4.0)
    assert ratios["b: fast"] == (4.0, 2.0, 8.0)
    assert ratios["a: idiomatic loop"] == ratios["b: idiomatic loop"] == (1.0, 1.0, 1.0)
    assert found["b: fast"]["milliseconds"] == {"median": 2.0, "min": 1.0, "max": 4.0}


def test_every_row_runs_and_the_table_is_stored(tmp_path, monkeypatch, capsys):
    small = {name: (*model[:3], 2) for name, model in training.MODELS.items()}
    monkeypatch.setattr(training, "MODELS", small)
    monkeypatch.setattr(training, "SEEDS", 2)
    training.main(["--rounds", "1", "--out", str(tmp_path / "out.json")])
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    rows = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["results"]
    assert len(rows) == 12
    assert capsys.readouterr().out.count(" to ") == 12
    assert all(row["milliseconds"]["min"] > 0 for row in rows.values())


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--rounds", "few"], ["--out", "."], ["nonsense"]])
def test_what_cannot_be_done_is_refused_before_anything_is_measured(arguments, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "measure", lambda rounds: pytest.fail("it was measured"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        training.main(arguments)


def test_a_folder_that_cannot_be_written_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # chmod does not stop root
    with pytest.raises(SystemExit, match="2"):
        training.main(["--out", str(tmp_path / "out.json")])
