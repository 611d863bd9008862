"""The copies for Colab: the chapters, and before them a cell that brings what they need."""

import os
import subprocess
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from tools import for_colab

CHAPTERS = sorted(for_colab.BOOK.glob("*.ipynb"))


def cells_of(path):
    return nbformat.read(path, as_version=nbformat.NO_CONVERT).cells


def test_each_chapter_is_copied_behind_one_cell(tmp_path):
    for_colab.main("https://github.com/someone/their-book", "0123abc", str(tmp_path / "copies"))
    copies = sorted((tmp_path / "copies").iterdir())
    assert [path.name for path in copies] == [path.name for path in CHAPTERS] != []
    for copy, chapter in zip(copies, CHAPTERS, strict=True):
        nbformat.validate(nbformat.read(copy, as_version=nbformat.NO_CONVERT))
        first, *others = cells_of(copy)
        assert others == cells_of(chapter)
        assert first == for_colab.first_cell("https://github.com/someone/their-book", "0123abc")
    assert "someone" in first.source and "0123abc" in first.source
    assert len(first.source.splitlines()) <= 6 and first.outputs == []


class Shell:
    """Runs an IPython cell: what it calls as a program for real, and of its magics only the names."""

    def __init__(self):
        self.magics = []

    def system(self, command):
        subprocess.run(command, shell=True, check=True)

    def run_line_magic(self, name, line):
        self.magics.append((name, line))

    def run(self, cell):
        exec(TransformerManager().transform_cell(cell), {"get_ipython": lambda: self})


def git(folder, *arguments):
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(os.name == "nt", reason="Colab runs Linux, and so do the cell's commands")
@pytest.mark.parametrize("times", [1, 2])
def test_the_cell_fetches_the_commit_of_the_site_and_installs_it(tmp_path, monkeypatch, times):
    origin, clone = tmp_path / "their-book", tmp_path / "colab"
    git(tmp_path, "init", "-q", str(origin))
    commits = []
    for text in ("as published", "written since"):
        (origin / "record").write_text(text, encoding="utf-8")
        git(origin, "add", "record")
        git(origin, "commit", "-q", "-m", text)
        commits.append(git(origin, "rev-parse", "HEAD"))
    monkeypatch.setattr(for_colab, "CLONE", clone.as_posix())
    shell = Shell()
    for _ in range(times):  # a reader may run a cell again
        shell.run(for_colab.first_cell(str(origin), commits[0]).source)
    assert (clone / "record").read_text(encoding="utf-8") == "as published"
    assert shell.magics == times * [
        ("pip", f"install -q {clone.as_posix()}"),
        ("cd", f"-q {clone.as_posix()}/book"),
    ]


def test_the_workflow_writes_the_copies_to_the_branch_that_the_button_opens(root=for_colab.BOOK.parent):
    address = Path(root, "book/_ext/address.py").read_text(encoding="utf-8")
    workflow = Path(root, ".github/workflows/pages.yml").read_text(encoding="utf-8")
    assert "python tools/for_colab.py" in workflow
    assert 'COPIES = "colab"' in address and "HEAD:colab" in workflow
