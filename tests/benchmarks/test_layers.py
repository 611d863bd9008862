"""The benchmark's own arithmetic, and that what it measures runs; nothing is asserted of any time."""

import json
import os

import numpy as np
import pytest
import torch

from benchmarks import layers


@pytest.fixture(autouse=True)
def _threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmark") / "out.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "BACKEND", "aot_eager")  # what inductor makes of it is for others to test
        patch.setattr(layers, "THREADS", 1)  # two wait for each other where tests run side by side
        layers.main(["--quick", "--runs", "2", "--out", str(path)])
    assert [file.name for file in path.parent.iterdir()] == ["out.json"]
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_ratio_is_taken_run_by_run_with_the_rows_first_call():
    row = {"seconds": {"torch.nn": [2.0, 4.0, 5.0], "ours": [3.0, 4.0, 2.5]}}
    np.testing.assert_allclose(layers.ratio(row), [1.5, 1.0, 0.5])
    assert layers.summary(row) == "1.00  (0.50 to 1.50)"
    assert layers.summary(row, "torch.nn") == "1.00  (1.00 to 1.00)"


def test_the_calls_take_turns(monkeypatch):
    called = []
    case = layers.Case("", (1,), {name: lambda name=name: called.append(name) for name in ("a", "b")})
    found = layers.seconds(case, turns=3, block=0)
    assert found.keys() == {"a", "b"}
    order = [name for name, before in zip(called, ["", *called], strict=False) if name != before]
    assert order == ["a", "b"] * 4  # the first to see how long they take


def test_a_call_finds_its_threads_and_whether_autograd_is_off():
    def seen(case):
        found = []
        call = {"a": lambda: found.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))}
        layers.seconds(layers.Case("", (1,), call, **case), turns=1, block=0)
        return set(found)

    assert seen({"threads": 1}) == {(1, False)}
    assert seen({"threads": 2, "inference": True}) == {(2, True)}


def test_every_row_runs_and_is_stored_run_by_run(record):
    assert {row["group"] for row in record["rows"]} == {
        *("training", "training, compiled", "inference", "NumPy, one thread", "passes", "bandwidth"),
        *("training, channels last", "training, bfloat16"),
        *("growth with N", "growth with C", "growth with size"),
        *("folding, 1 × 1", "folding, 3 × 3", "step of the small CNN"),
    }
    for row in record["rows"]:
        assert len(row["seconds"]) > 1
        assert all(len(times) == 2 and min(times) > 0 for times in row["seconds"].values())
    assert record["quick"] is True
    assert record["processor"]


def test_what_is_kept_for_the_backward_pass_is_stored(record):
    for row in record["kept"]:
        assert row["bytes"].keys() == {"torch.nn", "ours", "plain"}
        assert row["bytes"]["torch.nn"] >= 4 * row["values"]  # it keeps the input


def test_the_calls_of_a_training_row_compute_the_same():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "BACKEND", "aot_eager")
        for case in layers.cases(layers.QUICK):
            if case.group.startswith(("training", "NumPy", "growth")):
                close = {"atol": 1e-5, "rtol": 1e-4}
                if case.group == "training, bfloat16":
                    close = {"atol": 2e-2, "rtol": 2e-2}
                first, *others = [call() for call in case.calls.values()]
                for other in others:
                    for a, b in zip(first, other, strict=True):
                        torch.testing.assert_close(torch.as_tensor(b), a, **close)


def test_a_changed_input_is_what_its_row_says(monkeypatch):
    monkeypatch.setattr(layers, "BACKEND", "aot_eager")
    found = {case.group: case.calls for case in layers.cases(layers.QUICK)}
    for call in found["training, channels last"].values():
        assert call()[0].is_contiguous(memory_format=torch.channels_last)
    for call in found["training, bfloat16"].values():
        assert [v.dtype for v in call()] == [torch.bfloat16, torch.float32, torch.float32]


def test_a_changed_input_shares_no_memory_with_the_drawn_one():
    for change in (torch.Tensor.clone, *layers.CHANGES.values()):
        drawn = layers.drawn((2, 3, 4, 4))
        assert change(drawn).data_ptr() != drawn.data_ptr()


def test_the_table_has_every_row_with_a_goal(record, capsys):
    layers.print_table(record)
    printed = capsys.readouterr().out
    assert printed.count("goal") == sum(row["goal"] is not None for row in record["rows"]) == 7


def test_the_goal_of_the_smallest_is_2(record):
    goals = {(row["group"], tuple(row["shape"])): row["goal"] for row in record["rows"]}
    assert goals["training", (6, 3)] == 2.0
    assert goals["training", (2, 3, 4, 4)] == 1.3
    assert goals["training, compiled", (6, 3)] is None


@pytest.mark.parametrize("arguments", [["--runs", "0"], ["--runs", "few"], ["--out", "."], ["nonsense"]])
def test_what_cannot_be_done_is_refused_before_anything_is_measured(arguments, monkeypatch, tmp_path):
    monkeypatch.setattr(layers, "measure", lambda *_: pytest.fail("it was measured"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        layers.main(arguments)


def test_a_folder_that_cannot_be_written_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # chmod does not stop root
    with pytest.raises(SystemExit, match="2"):
        layers.main(["--out", str(tmp_path / "out.json")])
