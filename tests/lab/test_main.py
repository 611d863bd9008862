"""The command line: what it runs, refuses, and leaves behind."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bnlib.lab import __main__ as command
from bnlib.lab import data, experiments
from bnlib.lab.data import MNIST, SHA256
from bnlib.lab.experiments import EXPERIMENTS, Experiment
from bnlib.lab.records import read_partial, read_record, write_partial


@pytest.fixture
def images(monkeypatch):
    """Noise instead of MNIST, so that no test waits for files."""
    rng = np.random.default_rng(0)

    def draw(n):
        return rng.integers(0, 256, size=(n, 28, 28)).astype(np.uint8), np.arange(n).astype(np.uint8) % 10

    mnist = MNIST(*draw(100), *draw(50), source="folder")
    monkeypatch.setattr(command, "load_mnist", lambda folder: mnist)


@pytest.fixture
def tiny(images, monkeypatch):
    constants = {**experiments.PAPER, "width": 4, "batch_size": 10}
    cases = experiments.grid(norm=(None, "before"))
    for name in ("tiny", "other"):
        experiment = Experiment(name, "Is it small?", 0.1, cases, (0, 3), 2, constants)
        monkeypatch.setitem(EXPERIMENTS, name, experiment)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def lab(out, capsys):
    """Call the command line: exit status, output, errors."""

    def call(*arguments):
        try:
            status = command.main([*map(str, arguments), "--out", str(out)])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return call


def one_line(err):
    return err.count("\n") == 1 and err.startswith("python -m bnlib.lab: ")


def test_the_list_names_every_experiment_with_its_question_and_duration(lab):
    status, text, _ = lab("--list")
    assert status == 0
    for experiment in EXPERIMENTS.values():
        assert f"{experiment.name}: " in text
        assert f"about {experiment.minutes:g} min" in text
        assert experiment.question in text


def test_a_result_is_written_and_nothing_beside_it(tiny, lab, out):
    status, _, err = lab("tiny")
    assert status == 0
    assert [path.name for path in out.iterdir()] == ["tiny.json"]
    assert read_record(out / "tiny.json").stack("accuracy").shape == (4, 2)
    assert "written to" in err


def test_steps_seeds_and_threads_are_obeyed(tiny, lab, out):
    lab("tiny", "--steps", 2, "--seeds", 1, "--threads", 1)
    record = read_record(out / "tiny.json")
    assert (record.steps, record.seeds, record.processor["threads"]) == ([0, 2], [0], 1)


def test_a_finished_experiment_is_not_run_again_unless_asked(tiny, lab, out):
    lab("tiny")
    before = (out / "tiny.json").stat().st_mtime_ns
    status, _, err = lab("tiny")
    assert status == 0
    assert "finished already" in err
    assert (out / "tiny.json").stat().st_mtime_ns == before
    lab("tiny", "--again")
    assert (out / "tiny.json").stat().st_mtime_ns > before


def test_a_record_of_other_settings_is_replaced_only_when_asked(tiny, lab, out):
    lab("tiny")
    status, _, err = lab("tiny", "--steps", 2)
    assert status == 2
    assert one_line(err)
    assert "made with other settings" in err
    assert read_record(out / "tiny.json").steps == [0, 3]
    assert lab("tiny", "--steps", 2, "--again")[0] == 0
    assert read_record(out / "tiny.json").steps == [0, 2]


def test_several_are_run_and_one_named_twice_is_run_once(tiny, lab, out):
    _, _, err = lab("tiny", "other", "tiny")
    assert sorted(path.name for path in out.iterdir()) == ["other.json", "tiny.json"]
    assert err.count("tiny: about") == 1


def test_all_runs_all(tiny, lab, out, monkeypatch):
    for name in set(EXPERIMENTS) - {"tiny", "other"}:
        monkeypatch.delitem(EXPERIMENTS, name)
    assert lab("--all")[0] == 0
    assert sorted(path.name for path in out.iterdir()) == ["other.json", "tiny.json"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["figure1", "nonsense"],
        [],
        ["figure1", "--all"],
        ["figure1", "--steps", "0"],
        ["figure1", "--steps", "-5"],
        ["figure1", "--steps", "many"],
        ["figure1", "--seeds", "1.5"],
        ["figure1", "--seeds", "99999999999"],
        ["figure1", "--threads", "0"],
        ["figure1", "--data-dir", ""],
        ["figure1", "--data-dir", "~no-such-user/mnist"],
        ["figure1", "--nonsense"],
    ],
)
def test_wrong_arguments_end_in_one_line_and_status_2(lab, out, arguments):
    status, text, err = lab(*arguments)
    assert (status, text) == (2, "")
    assert one_line(err)
    assert not out.exists()


@pytest.mark.parametrize("named_by", ["argument", "environment"])
@pytest.mark.parametrize("damage", ["missing", "empty", "damaged"])
def test_a_wrong_data_folder_ends_in_one_line_and_status_2(lab, out, tmp_path, monkeypatch, named_by, damage):
    folder = tmp_path / "images"
    if damage != "missing":
        folder.mkdir()
    if damage == "damaged":
        for name in SHA256:
            (folder / name).write_bytes(b"?")
    monkeypatch.setenv("BNLIB_DATA_DIR", str(folder))
    status, _, err = lab("figure1", *(["--data-dir", folder] if named_by == "argument" else []))
    assert status == 2
    assert one_line(err)
    assert str(folder) in err
    assert not out.exists()


def test_a_missing_folder_for_the_results_ends_in_one_line_and_status_2(images, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["figure1", "--out", str(tmp_path / "no" / "results")])
    assert end.value.code == 2
    assert one_line(capsys.readouterr().err)
    assert not (tmp_path / "no").exists()


def test_an_empty_name_of_a_folder_is_not_the_current_one(images, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["figure1", "--out", ""])
    assert end.value.code == 2
    assert one_line(capsys.readouterr().err)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_run(tiny, lab, out, monkeypatch):
    lab("other")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # chmod does not stop root
    status, _, err = lab("tiny")
    assert status == 2
    assert one_line(err)
    assert "cannot write in the folder" in err
    assert lab("other")[0] == 0  # what is finished needs no writing


def test_a_full_disk_ends_in_one_line_and_leaves_no_half_file(tiny, lab, out, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # it names no file

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = lab("tiny")
    assert status == 2
    assert one_line(err.partition("\n")[2])  # after the line that says what is run
    assert "No space left on device" in err
    assert "tiny.partial.npz" in err
    assert list(out.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_refused(tiny, lab, out):
    out.write_text("mine")
    status, _, err = lab("tiny")
    assert status == 2
    assert one_line(err)
    assert out.read_text() == "mine"


@pytest.mark.parametrize("name", ["other.json", "other.partial.npz"])
@pytest.mark.parametrize("again", [[], ["--again"]])
def test_a_foreign_file_is_refused_before_anything_is_run(tiny, lab, out, name, again):
    out.mkdir()
    (out / name).write_text("mine")
    status, _, err = lab("tiny", "other", *again)
    assert status == 2
    assert one_line(err)
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_text() == "mine"


def test_a_record_under_another_name_is_refused(tiny, lab, out):
    lab("tiny")
    (out / "tiny.json").rename(out / "other.json")
    status, _, err = lab("other", "--again")
    assert status == 2
    assert "got one of tiny" in err


def interrupted(monkeypatch, after):
    """Ctrl-C after so many times that the state was kept, which is after every step."""
    left = iter(range(after))

    def write_then_stop(*args):
        write_partial(*args)
        if next(left, None) is None:
            raise KeyboardInterrupt

    original = experiments.run_experiment
    monkeypatch.setattr(experiments, "write_partial", write_then_stop)
    monkeypatch.setattr(command, "run_experiment", lambda *a, **k: original(*a, checkpoint_seconds=0, **k))


@pytest.mark.parametrize("after", [0, 2, 4, 7])
def test_a_stopped_experiment_says_so_and_is_taken_up_again(tiny, lab, out, monkeypatch, after):
    with monkeypatch.context() as patch:
        interrupted(patch, after)
        status, _, err = lab("tiny")
    assert status == 2
    assert one_line(err.partition("\n")[2])  # after the line that says what is run
    assert err.endswith("stopped; the same command takes it up again where it was last kept\n")
    assert [path.name for path in out.iterdir()] == ["tiny.partial.npz"]
    read_partial(out / "tiny.partial.npz")

    status, _, err = lab("tiny")
    assert status == 0
    assert "taken up again" in err
    resumed = read_record(out / "tiny.json")
    lab("tiny", "--again")
    for a, b in zip(resumed.series, read_record(out / "tiny.json").series, strict=True):
        assert all(np.array_equal(a.values[n], b.values[n], equal_nan=True) for n in a.values)


def test_what_is_refused_in_the_end_drops_no_stopped_run_before(tiny, lab, out, monkeypatch):
    with monkeypatch.context() as patch:
        interrupted(patch, 2)
        lab("tiny")
    (out / "other.json").write_text("mine")
    assert lab("tiny", "other", "--steps", 2, "--again")[0] == 2
    assert (out / "tiny.partial.npz").exists()


def test_a_stopped_run_of_other_settings_is_dropped_only_when_asked(tiny, lab, out, monkeypatch):
    with monkeypatch.context() as patch:
        interrupted(patch, 2)
        lab("tiny")
    status, _, err = lab("tiny", "--steps", 2)
    assert status == 2
    assert one_line(err)
    assert "--again starts anew" in err
    assert (out / "tiny.partial.npz").exists()
    assert lab("tiny", "--steps", 2, "--again")[0] == 0
    assert [path.name for path in out.iterdir()] == ["tiny.json"]


KILLED = """
import itertools, os, signal, sys
from bnlib.lab import __main__ as command, data, experiments

original, fsync, times = command.run_experiment, os.fsync, itertools.count()
data._download = lambda *_: False
command.run_experiment = lambda *a, **k: original(*a, checkpoint_seconds=0, **k)
os.fsync = lambda file: fsync(file) if next(times) < 2 else os.kill(os.getpid(), signal.SIGKILL)
command.main(["figure1", "--steps", "4", "--seeds", "1", "--out", sys.argv[1]])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_an_experiment_killed_while_it_writes_is_taken_up_again(lab, out, tmp_path, monkeypatch):
    monkeypatch.delenv("BNLIB_DATA_DIR", raising=False)
    monkeypatch.setattr(data, "_download", lambda *_: False)
    done = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False, stderr=subprocess.DEVNULL)
    assert done.returncode == -signal.SIGKILL
    assert sorted(path.suffix for path in out.iterdir()) == [".npz", ".tmp"]

    status, _, err = lab("figure1", "--steps", 4, "--seeds", 1)
    assert status == 0
    assert "taken up again" in err
    resumed = read_record(out / "figure1.json")
    lab("figure1", "--steps", 4, "--seeds", 1, "--again")
    for a, b in zip(resumed.series, read_record(out / "figure1.json").series, strict=True):
        assert all(np.array_equal(a.values[n], b.values[n], equal_nan=True) for n in a.values)


def test_the_embedded_images_are_said_to_be_used(tiny, lab, out, monkeypatch):
    load = command.load_mnist

    def fall_back(folder):
        command.warnings.warn("the official MNIST files are not at hand", stacklevel=2)
        return dataclasses.replace(load(folder), source="embedded")

    monkeypatch.setattr(command, "load_mnist", fall_back)
    _, _, err = lab("tiny")
    assert "note: the official MNIST files are not at hand\n" in err
    assert "embedded" in read_record(out / "tiny.json").data["name"]


def test_ctrl_c_in_the_middle_of_a_run_ends_in_one_line_without_a_traceback(tmp_path):
    out = tmp_path / "results"
    program = (
        "import warnings; warnings.simplefilter('ignore'); import sys; from bnlib.lab.__main__ import main; "
    )
    program += "import bnlib.lab.data as d; d._download = lambda *_: False; "
    program += f"sys.exit(main(['figure1', '--out', {str(out)!r}]))"
    environment = {k: v for k, v in os.environ.items() if k != "BNLIB_DATA_DIR"}
    child = subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        line = child.stderr.readline()
        while line and not line.startswith("figure1: about"):
            line = child.stderr.readline()
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 2
    assert one_line(err)
    assert err.endswith("stopped; the same command takes it up again where it was last kept\n")
    assert {path.suffix for path in out.iterdir()} <= {".npz"}


def test_the_module_can_be_called_by_its_name():
    done = subprocess.run(
        [sys.executable, "-m", "bnlib.lab", "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert one_line(done.stderr)
    assert "no experiment nonsense; there are figure1, " in done.stderr
