"""The command line of the benchmark: what it refuses, and leaves behind; the measurement is not run."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import training


@pytest.fixture
def call(monkeypatch, capsys):
    """Call the command line with a measurement of its own: exit status, output, errors."""

    def call(*arguments, measure=lambda rounds: pytest.fail("it was measured")):
        monkeypatch.setattr(training, "measure", measure)
        monkeypatch.setattr(sys, "argv", ["training.py", *map(str, arguments)])
        try:
            status = training.main()
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return call


def quick(rounds):
    names = training.IDIOMATIC, training.SINGLE, training.SWEEP, training.SPLIT, "products alone"
    return {name: np.arange(1.0, 1.0 + rounds) for name in names}


def one_line(err):
    return err.count("\n") == 1 and err.startswith("training.py: ")


@pytest.mark.parametrize(
    "arguments", [["--rounds", "0"], ["--rounds", "-1"], ["--rounds", "few"], ["--nonsense"], ["nonsense"]]
)
def test_wrong_arguments_end_in_one_line_and_status_2(call, arguments):
    status, out, err = call(*arguments)
    assert (status, out) == (2, "")
    assert one_line(err)


@pytest.mark.parametrize("name", ["nowhere/out.json", "."])
def test_a_file_that_cannot_be_written_is_refused_before_the_measurement(call, tmp_path, name):
    status, _, err = call("--out", tmp_path / name)
    assert status == 2
    assert one_line(err)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_before_the_measurement(call, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # chmod does not stop root
    status, _, err = call("--out", tmp_path / "out.json")
    assert status == 2
    assert one_line(err)


def test_the_results_are_written_and_nothing_beside_them(call, tmp_path):
    status, out, err = call("--out", tmp_path / "out.json", "--rounds", 3, measure=quick)
    assert (status, err) == (None, "")
    assert "range of 3 rounds" in out
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_a_full_disk_ends_in_one_line_and_leaves_the_old_file(call, tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "out.json").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    status, _, err = call("--out", tmp_path / "out.json", measure=quick)
    assert status == 2
    assert one_line(err)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
def test_ctrl_c_ends_all_processes_in_one_line_and_status_2(tmp_path):
    program = (
        "from benchmarks import training\n"
        "training.random_digits = lambda: print('begun', flush=True)\n"  # after it, the two others start
        "training.main()"
    )
    command = [sys.executable, "-c", program, "--out", str(tmp_path / "out.json")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, start_new_session=True, **pipes) as child:
        try:
            child.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(1)
            os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to the children too
            _, err = child.communicate(timeout=30)
        finally:
            child.kill()
    assert child.returncode == 2
    assert err.endswith(b": stopped; nothing was written\n")
    assert err.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []
