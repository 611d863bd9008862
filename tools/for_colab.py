"""Write copies of the chapters for Colab, each with a first cell that brings the package and the records.

``python tools/for_colab.py ADDRESS COMMIT FOLDER`` is run where the site is published: there the address of
the repository is known. Colab opens a single file, and nothing documented tells it where it came from.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

BOOK = Path(__file__).resolve().parent.parent / "book"
#: Where the repository is put on Colab's machine.
CLONE = "/content/the-book"
CELL = """\
# Colab has neither this book's package nor its records. They come as they were when the site was built.
!test -e {clone} || git clone -q {address} {clone}
!git -C {clone} checkout -q {commit}
%pip install -q {clone}
%cd -q {clone}/book"""


def first_cell(address: str, commit: str) -> nbformat.NotebookNode:
    """Return the cell that fetches and installs one commit of a repository."""
    source = CELL.format(address=address, commit=commit, clone=CLONE)
    return nbformat.v4.new_code_cell(source, id="for-colab")


def main(address: str, commit: str, folder: str) -> None:
    """Write the copies into a folder, which is made."""
    Path(folder).mkdir(parents=True)
    for path in sorted(BOOK.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        notebook.cells.insert(0, first_cell(address, commit))
        text = nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"
        Path(folder, path.name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
