"""The command line: what it runs, refuses, and leaves behind."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from bnlib.lab import SHA256
from bnlib.sweep import EXPERIMENTS, engine, read_record, records
from bnlib.sweep import __main__ as command


@pytest.fixture(autouse=True)
def experiments(tiny, mnist, monkeypatch):
    """Two tiny experiments, and noise instead of MNIST, so that no test waits."""
    monkeypatch.setitem(EXPERIMENTS, "other", dataclasses.replace(tiny, name="other"))
    monkeypatch.setattr(command, "load_mnist", lambda folder: mnist)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def sweep(out, capsys):
    """Call the command line: exit status, output, errors."""

    def call(*arguments):
        try:
            status = command.main([*map(str, arguments), "--out", str(out)])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return call


def complaint(err):
    """The last line, which says what is wrong; a usage line may stand before it, and no traceback."""
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("python -m bnlib.sweep: ")
    return err.splitlines()[-1]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_list_names_every_experiment_with_its_question_and_duration(sweep):
    status, text, _ = sweep("--list")
    assert status == 0
    for experiment in EXPERIMENTS.values():
        assert f"{experiment.name}: " in text
        assert f"about {experiment.minutes:g} min" in text
        assert experiment.question in text


def test_a_result_is_written_and_nothing_beside_it(sweep, out):
    status, _, err = sweep("tiny")
    assert status == 0
    assert names(out) == ["tiny.json"]
    assert len(read_record(out / "tiny.json").series) == 8
    assert "written to" in err


def test_steps_seeds_and_jobs_are_obeyed(sweep, out, monkeypatch):
    asked = []
    monkeypatch.setattr(
        engine.joblib,
        "Parallel",
        lambda n_jobs, **_: asked.append(n_jobs) or (lambda calls: map(call, calls)),
    )
    sweep("tiny", "--steps", 2, "--seeds", 1, "--jobs", 3)
    record = read_record(out / "tiny.json")
    assert (record.steps, record.seeds, asked) == ([0, 2], [0], [3])


def call(delayed):
    function, arguments, keywords = delayed
    return function(*arguments, **keywords)


def test_a_finished_experiment_is_not_run_again_unless_asked(sweep, out):
    sweep("tiny")
    before = (out / "tiny.json").stat().st_mtime_ns
    status, _, err = sweep("tiny")
    assert status == 0
    assert "finished already" in err
    assert (out / "tiny.json").stat().st_mtime_ns == before
    sweep("tiny", "--again")
    assert (out / "tiny.json").stat().st_mtime_ns > before


def test_a_record_of_other_settings_is_replaced_only_when_asked(sweep, out):
    sweep("tiny")
    status, _, err = sweep("tiny", "--steps", 2)
    assert status == 2
    assert "made with other settings" in complaint(err)
    assert read_record(out / "tiny.json").steps == [0, 5, 12]
    assert sweep("tiny", "--steps", 2, "--again")[0] == 0
    assert read_record(out / "tiny.json").steps == [0, 2]


def test_several_are_run_and_one_named_twice_is_run_once(sweep, out):
    _, _, err = sweep("tiny", "other", "tiny")
    assert names(out) == ["other.json", "tiny.json"]
    assert err.count("tiny: about") == 1


def test_all_runs_all(sweep, out, monkeypatch):
    for name in set(EXPERIMENTS) - {"tiny", "other"}:
        monkeypatch.delitem(EXPERIMENTS, name)
    assert sweep("--all")[0] == 0
    assert names(out) == ["other.json", "tiny.json"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["tiny", "nonsense"],
        [],
        ["tiny", "--all"],
        ["tiny", "--steps", "0"],
        ["tiny", "--steps", "-5"],
        ["tiny", "--steps", "many"],
        ["tiny", "--seeds", "1.5"],
        ["tiny", "--jobs", "0"],
        ["tiny", "--nonsense"],
    ],
)
def test_wrong_arguments_end_with_what_is_wrong_and_status_2(sweep, out, arguments):
    status, text, err = sweep(*arguments)
    assert (status, text) == (2, "")
    assert complaint(err)
    assert not out.exists()


@pytest.mark.parametrize("named_by", ["argument", "environment"])
@pytest.mark.parametrize("damage", ["missing", "empty", "damaged"])
def test_a_wrong_data_folder_is_named(sweep, out, tmp_path, monkeypatch, named_by, damage):
    monkeypatch.undo()  # the images are asked for after all
    folder = tmp_path / "images"
    if damage != "missing":
        folder.mkdir()
    if damage == "damaged":
        for name in SHA256:
            (folder / name).write_bytes(b"?")
    monkeypatch.setenv("BNLIB_DATA_DIR", str(folder))
    status, _, err = sweep("figure1", *(["--data-dir", folder] if named_by == "argument" else []))
    assert status == 2
    assert str(folder) in complaint(err)
    assert not out.exists()


def test_a_missing_folder_for_the_results_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["tiny", "--out", str(tmp_path / "no" / "results")])
    assert "no folder" in complaint(capsys.readouterr().err)
    assert not (tmp_path / "no").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_run(sweep, out, monkeypatch):
    sweep("other")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # chmod does not stop root
    status, _, err = sweep("tiny")
    assert status == 2
    assert "cannot write in the folder" in complaint(err)
    assert sweep("other")[0] == 0  # what is finished needs no writing


def test_a_full_disk_is_named_and_loses_nothing(sweep, out, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out / "tiny.json"))

    with monkeypatch.context() as patch:
        patch.setattr(records.os, "replace", full)
        status, _, err = sweep("tiny")
    assert status == 2
    assert "No space left on device" in complaint(err)
    assert names(out) == ["tiny.unfinished"]
    monkeypatch.setattr(engine, "train_stacked", None)  # nothing is trained again
    assert sweep("tiny")[0] == 0
    assert names(out) == ["tiny.json"]


def test_a_file_in_the_place_of_the_folder_is_refused(sweep, out):
    out.write_text("mine", encoding="utf-8")
    status, _, err = sweep("tiny")
    assert status == 2
    assert complaint(err)
    assert out.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("again", [[], ["--again"]])
def test_a_foreign_file_is_refused_before_anything_is_run(sweep, out, again):
    out.mkdir()
    (out / "other.json").write_text("mine", encoding="utf-8")
    status, _, err = sweep("tiny", "other", *again)
    assert status == 2
    assert "other.json" in complaint(err)
    assert names(out) == ["other.json"]
    assert (out / "other.json").read_text(encoding="utf-8") == "mine"


def test_a_record_under_another_name_is_refused(sweep, out):
    sweep("tiny")
    (out / "tiny.json").rename(out / "other.json")
    status, _, err = sweep("other", "--again")
    assert status == 2
    assert "got one of tiny" in complaint(err)


def test_the_embedded_images_are_said_to_be_used(sweep, out, mnist, monkeypatch):
    def fall_back(folder):
        command.warnings.warn("the official MNIST files are not at hand", stacklevel=2)
        return dataclasses.replace(mnist, source="embedded")

    monkeypatch.setattr(command, "load_mnist", fall_back)
    _, _, err = sweep("tiny")
    assert "note: the official MNIST files are not at hand\n" in err
    assert "embedded" in read_record(out / "tiny.json").data.name


def test_a_stopped_experiment_says_so_and_goes_on(sweep, out, monkeypatch):
    trained, original = [], engine.train_stacked

    def train(*args, **options):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(options["learning_rate"])
        return original(*args, **options)

    monkeypatch.setattr(engine, "GROUP", 2)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "train_stacked", train)
        status, _, err = sweep("tiny")
    assert status == 2
    assert complaint(err).endswith("stopped; the same command goes on after the last finished group of runs")
    assert names(out) == ["tiny.unfinished"]

    status, _, err = sweep("tiny")
    assert status == 0
    assert "tiny: goes on" in err
    assert names(out) == ["tiny.json"]
    stopped = read_record(out / "tiny.json")
    sweep("tiny", "--again")
    for a, b in zip(stopped.series, read_record(out / "tiny.json").series, strict=True):
        assert (a.values["accuracy"] == b.values["accuracy"]).all()


@pytest.mark.parametrize(("by", "jobs"), [("SIGINT", 1), ("SIGINT", 2), ("SIGKILL", 1)])
def test_a_process_that_is_ended_in_the_middle_leaves_no_record_and_no_process(tmp_path, jobs, by):
    if os.name == "nt":
        pytest.skip("Windows sends no signals")
    out = tmp_path / "results"
    program = (
        # whoever starts the tests in the background may have had SIGINT ignored
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "import sys, bnlib.lab.data as d; d.MIRRORS = (); from bnlib.sweep.__main__ import main; "
        f"sys.exit(main(['figure1', '--jobs', '{jobs}', '--out', {str(out)!r}]))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TQDM_DISABLE": "1", "JOBLIB_TEMP_FOLDER": str(tmp_path)},
        start_new_session=True,
    )
    try:
        while not (line := child.stderr.readline()).startswith("figure1: about"):
            assert line, "it ended before it began"
        time.sleep(3)  # into the first setting
        child.send_signal(getattr(signal, by))
        _, err = child.communicate(timeout=60)  # ends only when no process holds stderr any more
    finally:
        child.kill()
    assert names(out) == ["figure1.unfinished"]
    if by == "SIGINT":
        assert child.returncode == 2
        assert "stopped" in complaint(err)


def test_the_module_can_be_called_by_its_name():
    done = subprocess.run(
        [sys.executable, "-m", "bnlib.sweep", "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no experiment nonsense; there are figure1, " in complaint(done.stderr)
