"""Running notebooks in place: the same file twice, and never a broken one."""

import json

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
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
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
    raw = json.loads(path.read_text())
    raw["cells"][0]["metadata"]["tags"] = ["raises-exception"]
    path.write_text(json.dumps(raw))
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


def test_a_missing_file_is_reported(tmp_path, capsys):
    assert run_notebooks.main([str(tmp_path / "none.ipynb")]) == 1
    assert "none.ipynb" in capsys.readouterr().err


def test_ids_are_kept_and_missing_or_double_ones_given():
    cells = [{"id": "intro"}, {}, {"id": "intro"}, {"id": "cell-02"}]
    run_notebooks.give_ids(cells)
    names = [cell["id"] for cell in cells]
    assert names[0] == "intro"
    assert names[3] == "cell-02"
    assert len(set(names)) == 4
