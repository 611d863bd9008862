"""Running notebooks in place: the same file twice, and never a broken one."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest

from tools import run_notebooks


def notebook_file(folder, *sources, ids=True):
    cells = [
        {
            "cell_type": "code",
            "metadata": {"tags": ["hide-input"], "execution": {"iopub.busy": "2026-01-01T00:00:00Z"}},
            "execution_count": 41,
            "outputs": [],
            "source": source,
        }
        | ({"id": f"part-{i}"} if ids else {})
        for i, source in enumerate(sources)
    ]
    metadata = {"language_info": {"name": "python", "version": "3.9.1"}}
    path = folder / "page.ipynb"
    path.write_text(
        json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}),
        encoding="utf-8",
    )
    return path


def cells_of(path):
    return nbformat.read(path, as_version=nbformat.NO_CONVERT).cells


def test_outputs_and_counts_are_stored_in_order(tmp_path):
    path = notebook_file(tmp_path, "x = 2", "print(x)", "", "x + 1")
    assert run_notebooks.main([str(path)]) == 0
    cells = cells_of(path)
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4]
    assert cells[1].outputs[0].text == "2\n"
    assert cells[3].outputs[0].data["text/plain"] == "3"
    assert cells[3].outputs[0].execution_count == 4


def test_metadata_is_fixed_and_tags_are_kept(tmp_path):
    path = notebook_file(tmp_path, "1")
    assert run_notebooks.main([str(path)]) == 0
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    assert notebook.metadata == run_notebooks.METADATA
    assert notebook.cells[0].metadata == {"tags": ["hide-input"]}


def test_a_second_run_gives_the_same_bytes(tmp_path, capsys):
    path = notebook_file(
        tmp_path, "import sys\nfor i in range(300):\n    print(i)\n    sys.stdout.flush()", ids=False
    )
    assert run_notebooks.main([str(path)]) == 0
    first = path.read_bytes()
    assert run_notebooks.main([str(path)]) == 0
    assert path.read_bytes() == first
    assert "unchanged" in capsys.readouterr().out
    assert len(cells_of(path)[0].outputs) == 1


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; print('careful', file=sys.stderr)", "careful"),
        ("import warnings; warnings.warn('old')", "old"),
    ],
)
def test_a_failing_notebook_is_reported_and_left_alone(tmp_path, capsys, source, word):
    path = notebook_file(tmp_path, "x = 2", source)
    before = path.read_bytes()
    assert run_notebooks.main([str(path)]) == 1
    complaint = capsys.readouterr().err
    assert "cell 2 (id part-1)" in complaint
    assert word in complaint
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["page.ipynb"]


def test_an_exception_made_on_purpose_is_kept_without_folders_of_this_machine(tmp_path):
    path = notebook_file(tmp_path, "import json\njson.loads('{')")
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["cells"][0]["metadata"]["tags"] = ["raises-exception"]
    path.write_text(json.dumps(raw), encoding="utf-8")
    assert run_notebooks.main([str(path)]) == 0
    (output,) = cells_of(path)[0].outputs
    assert output.ename == "JSONDecodeError"
    shown = "\n".join(output.traceback)
    assert "json.loads" in shown
    assert "Expecting property name" in shown
    assert "File " not in shown


def test_the_others_run_after_a_failure(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    bad, good = notebook_file(tmp_path / "a", "1 / 0"), notebook_file(tmp_path / "b", "7")
    assert run_notebooks.main([str(bad), str(good)]) == 1
    assert cells_of(good)[0].outputs[0].data["text/plain"] == "7"


def refused(capsys, *arguments):
    """The one line of a call that ends with status 2 before anything is run."""
    with pytest.raises(SystemExit) as end:
        run_notebooks.main([str(argument) for argument in arguments])
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("name", ["none.ipynb", "nowhere/none.ipynb", ".", "--nonsense"])
def test_what_is_no_file_is_refused_before_anything_is_run(tmp_path, capsys, name):
    good = notebook_file(tmp_path, "1")
    before = good.read_bytes()
    assert name in refused(capsys, good, name if name.startswith("-") else f"{tmp_path}/{name}")
    assert good.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"nbformat": 3}',
        b'{"nbformat": 4, "cells": 3}',
        b'{"nbformat": 4, "cells": [{"source": 3}], "metadata": {}}',
    ],
)
def test_a_file_that_is_no_notebook_is_refused_before_anything_is_run(tmp_path, capsys, content):
    bad = tmp_path / "bad.ipynb"
    bad.write_bytes(content)
    assert "bad.ipynb: not a notebook" in refused(capsys, bad)
    assert bad.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_run(tmp_path, capsys, monkeypatch):
    path = notebook_file(tmp_path, "1")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # chmod does not stop root
    assert f"cannot write in the folder {tmp_path}" in refused(capsys, path)


def test_a_missing_data_folder_is_refused_before_anything_is_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BNLIB_DATA_DIR", str(tmp_path / "nowhere"))
    assert f"no MNIST folder {tmp_path / 'nowhere'}" in refused(capsys, notebook_file(tmp_path, "1"))


def test_a_relative_data_folder_means_the_same_to_the_notebooks(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    (tmp_path / "book").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNLIB_DATA_DIR", "images")
    path = notebook_file(tmp_path / "book", "import os; os.path.isdir(os.environ['BNLIB_DATA_DIR'])")
    assert run_notebooks.main([str(path)]) == 0
    assert cells_of(path)[0].outputs[0].data["text/plain"] == "True"


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_beside_it(tmp_path, capsys, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = notebook_file(tmp_path, "1")
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", full)
    assert run_notebooks.main([str(path)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["page.ipynb"]


@pytest.mark.parametrize("when", ["while the kernel starts", "in the middle of a cell"])
def test_ctrl_c_ends_in_one_line_and_status_2_and_leaves_the_file(tmp_path, when):
    if os.name == "nt":
        pytest.skip("Windows sends no signals")
    mark = tmp_path / "mark"
    path = notebook_file(tmp_path, f"import time; open({str(mark)!r}, 'w').close(); time.sleep(60)")
    before = path.read_bytes()
    command = [sys.executable, run_notebooks.__file__, str(path), str(path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as child:
        try:
            child.stdout.read(len("[1/2]"))
            while when == "in the middle of a cell" and not mark.exists():
                time.sleep(0.05)
            time.sleep(0.3)
            child.send_signal(signal.SIGINT)
            _, err = child.communicate(timeout=30)
        finally:
            child.kill()
    assert child.returncode == 2
    assert err == b"run_notebooks.py: stopped in page.ipynb; the notebooks before it are done\n"
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} <= {"page.ipynb", "mark"}


def test_ids_are_kept_and_missing_or_double_ones_given():
    cells = [{"id": "intro"}, {}, {"id": "intro"}, {"id": "cell-02"}]
    run_notebooks.give_ids(cells)
    names = [cell["id"] for cell in cells]
    assert names[0] == "intro"
    assert names[3] == "cell-02"
    assert len(set(names)) == 4
