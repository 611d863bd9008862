"""Text is UTF-8 wherever the book is run: where no encoding is named, Windows takes another."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("bnlib", "tests", "tools", "book/_ext", "benchmarks")


def opens_text(call):
    """Whether a call opens a file as text and does not say in which encoding."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    method = isinstance(call.func, ast.Attribute)
    places = {"read_text": 0, "write_text": 1}  # of the encoding
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if name in places:
        return len(call.args) <= places[name]
    if name not in ("open", "fdopen"):
        return False
    modes = [k.value for k in call.keywords if k.arg == "mode"]
    modes += call.args[:1] if method and name == "open" else call.args[1:2]
    if not modes:
        return not call.args or name == "fdopen" or not method
    return re.fullmatch(r"[rwax+t]+", str(getattr(modes[0], "value", ""))) is not None


def careless(source):
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [ast.unparse(call) for call in calls if opens_text(call)]


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("p.read_text()", True),
        ("p.read_text('utf-8')", False),
        ("p.read_text(encoding='utf-8')", False),
        ("p.write_text(text)", True),
        ("open(p)", True),
        ("open(p, mode='w')", True),
        ("open(p, 'rb')", False),
        ("p.open()", True),
        ("p.open('w')", True),
        ("p.open('rb')", False),
        ("Image.open(p)", False),
        ("os.fdopen(handle, 'w')", True),
    ],
)
def test_what_opens_text_is_known(call, found):
    assert bool(careless(call)) == found


def test_every_file_of_text_is_opened_as_utf_8():
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    found = {path.name: careless(path.read_text(encoding="utf-8")) for path in files}
    assert {name: calls for name, calls in found.items() if calls} == {}


def test_every_cell_opens_text_as_utf_8():
    found = {}
    for path in (ROOT / "book").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=nbformat.NO_CONVERT).cells
        found[path.name] = [c for cell in cells if cell.cell_type == "code" for c in careless(cell.source)]
    assert len(found) > 20
    assert {name: calls for name, calls in found.items() if calls} == {}
