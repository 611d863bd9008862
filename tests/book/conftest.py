"""The book as data: its notebooks, its pages, and what stands in them."""

from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))


def pytest_generate_tests(metafunc):
    """Run a test that asks for `notebook_path` once for every notebook."""
    if "notebook_path" in metafunc.fixturenames:
        metafunc.parametrize("notebook_path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def book():
    return BOOK


@pytest.fixture
def notebook(notebook_path):
    return nbformat.read(notebook_path, as_version=nbformat.NO_CONVERT)


@pytest.fixture
def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
