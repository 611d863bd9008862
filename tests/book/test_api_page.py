"""The API pages show everything public."""

import importlib
import inspect
import re

import pytest


def module_names(root):
    """Name every module of bnlib that holds code of its own: packages only hand names on."""
    files = [p for p in (root / "bnlib").rglob("*.py") if not p.name.startswith("_")]
    return sorted(".".join(p.relative_to(root).with_suffix("").parts) for p in files)


@pytest.fixture(scope="module")
def modules(root):
    return {name: importlib.import_module(name) for name in module_names(root)}


def public(module):
    """Yield (name, object) for what autodoc shows: __all__ if there is one, else what is defined here."""
    names = getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")])
    for name in names:
        obj = getattr(module, name)
        defined_here = getattr(obj, "__module__", None) == module.__name__
        if defined_here and (inspect.isclass(obj) or inspect.isroutine(obj)):
            yield name, obj


def test_every_floor_is_on_a_page(root, book):
    # The directive writes an entry for each module that it finds, and fails where there is none.
    pages = "".join((book / name).read_text("utf-8") for name in ("api.md", "api_lab.md"))
    shown = re.findall(r"^```\{modules\} (bnlib[\w.]*)$", pages, flags=re.MULTILINE)
    floors = {name.rpartition(".")[0] for name in module_names(root)}
    assert floors - set(shown) == set(), "an API page needs a heading, a paragraph and ```{modules} for each"


def test_everything_public_has_a_docstring(modules):
    # autodoc leaves out what has none.
    bare = [f"{m}.{name}" for m, module in modules.items() for name, obj in public(module) if not obj.__doc__]
    assert bare == []


@pytest.mark.parametrize("floor", ["bnlib.reference", "bnlib.layers"])
def test_a_floor_hands_on_only_what_the_page_shows(modules, floor):
    shown = {name for m, module in modules.items() if m.startswith(f"{floor}.") for name, _ in public(module)}
    package = importlib.import_module(floor)
    handed_on = {
        name
        for name, obj in vars(package).items()
        if not name.startswith("_") and (inspect.isclass(obj) or inspect.isroutine(obj))
    }
    assert shown - handed_on == set(), f"{floor}.__init__ lacks `from .MODULE import *` for these"
    assert handed_on - shown == set(), "these are handed on, but are in no module's __all__"
