"""The floors: what imports what, what is public, and that it is documented."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import bnlib

PACKAGE = Path(bnlib.__file__).parent
# What a part of the package may import of the others, and what it may not import at all.
MAY_IMPORT = {
    "__init__": set(),
    "reference": set(),
    "layers": {"reference"},
    "lab": {"reference", "layers"},
    "engines": {"reference", "layers", "lab"},
    "sweep": {"reference", "layers", "lab"},
    "figures": set(),
    "show": set(),
    "_mistakes": {"reference"},
    "exercises": {"reference", "_mistakes"},
}
NEVER = {"__init__": {"torch", "numpy", "matplotlib"}, "reference": {"torch", "matplotlib"}}
FLOORS = [name for name in ("reference", "layers", "lab", "engines", "sweep") if (PACKAGE / name).is_dir()]
FILES = {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in sorted(PACKAGE.rglob("*.py"))}


def imported(name):
    """The full name of every module that a file imports, or imports from, wherever in it."""
    package = ["bnlib", *name.split(".")[:-1]]
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", FILES)
def test_imports_point_down(name):
    part = name.split(".")[0]
    for module in imported(name):
        top, _, below = module.partition(".")
        other = below.split(".")[0]
        assert top not in NEVER.get(part, ()), f"{name} imports {module}"
        if top == "bnlib" and other in MAY_IMPORT:
            assert other in {part} | MAY_IMPORT[part], f"{name} imports {module}"


@pytest.mark.parametrize("floor", [*FLOORS, "figures"])
def test_no_two_modules_of_a_floor_import_each_other_in_a_circle(floor):
    modules = {f"bnlib.{name}": name for name in FILES if name.startswith(f"{floor}.")}
    TopologicalSorter({m: modules.keys() & set(imported(name)) for m, name in modules.items()}).prepare()


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("bnlib", ("torch", "numpy", "matplotlib")),
        ("bnlib.reference", ("torch", "matplotlib", "bnlib.layers", "bnlib.lab")),
        ("bnlib.layers", ("matplotlib", "bnlib.lab")),
        ("bnlib.exercises", ("torch", "matplotlib", "bnlib.layers")),
    ],
)
def test_importing_a_floor_loads_nothing_from_above(module, absent):
    program = f"import sys, {module}; sys.exit(', '.join(sys.modules.keys() & {set(absent)!r}) or 0)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"import {module} loads {done.stderr}"


def public_modules(floor):
    """The modules of a floor, by the files in it."""
    names = [path.stem for path in sorted((PACKAGE / floor).glob("*.py")) if not path.stem.startswith("_")]
    return [importlib.import_module(f"bnlib.{floor}.{name}") for name in names]


BESIDE = [importlib.import_module(f"bnlib.{name}") for name in ("exercises", "show")]
MODULES = [*BESIDE, *(m for floor in FLOORS for m in public_modules(floor))]
OBJECTS = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in MODULES
    for name in getattr(module, "__all__", ())
    if callable(getattr(module, name))
}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_the_public_names_of_a_module_are_sorted_and_its_own(module):
    assert hasattr(module, "__all__"), f"expected {module.__name__} to list its public names in __all__"
    # constants first, then classes, then functions, each in the order of the alphabet: as ruff sorts them
    kinds = [(not name.isupper(), not name[0].isupper(), name) for name in module.__all__]
    assert kinds == sorted(kinds)
    tree = ast.parse(inspect.getsource(module))
    own = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    own |= {n.targets[0].id for n in tree.body if isinstance(n, ast.Assign)}
    assert set(module.__all__) <= own


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_every_public_class_defined_in_a_module_is_offered(module):
    own = [n for n in ast.parse(inspect.getsource(module)).body if isinstance(n, ast.ClassDef)]
    hidden = {n.name for n in own if not n.name.startswith("_")} - set(module.__all__)
    assert not hidden


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_hands_on_the_public_names_of_its_modules(floor):
    package = importlib.import_module(f"bnlib.{floor}")
    names = [name for module in public_modules(floor) for name in module.__all__]
    assert len(names) == len(set(names)), "two modules offer one name"
    for module in public_modules(floor):
        for name in module.__all__:
            assert getattr(package, name) is getattr(module, name)


# A docstring opens with one claim. A section stands where it says something; what it says has to be true.


def sections(documented):
    """NumPy sections: title -> text; the summary under ''."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.getdoc(documented), flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def described(section):
    """The names that a Parameters section describes."""
    lines = [line for line in section.splitlines() if line and not line.startswith(" ")]
    return [name.strip("* ") for line in lines for name in line.split(" : ")[0].split(",")]


@pytest.mark.parametrize("name", OBJECTS)
def test_the_docstring_starts_with_one_claim(name):
    summary = inspect.getdoc(OBJECTS[name]).splitlines()
    assert summary[0].endswith(".")
    assert len(summary) == 1 or summary[1] == ""


@pytest.mark.parametrize("name", OBJECTS)
def test_the_parameters_described_are_those_of_the_signature_in_its_order(name):
    names = described(sections(OBJECTS[name]).get("Parameters", ""))
    if names:
        assert names == [p for p in inspect.signature(OBJECTS[name]).parameters if p in names]


FUNCTIONS = {name: f for name, f in OBJECTS.items() if inspect.isfunction(f)}
CLASSES = {name: c for name, c in OBJECTS.items() if inspect.isclass(c)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_function_returns_is_said_by_its_annotation_or_its_docstring(name):
    annotated = inspect.signature(FUNCTIONS[name]).return_annotation is not inspect.Signature.empty
    assert annotated or sections(FUNCTIONS[name]).keys() & {"Returns", "Yields"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_docstring_of_a_function_says_what_it_raises(name):
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(FUNCTIONS[name]))))
    calls = [n.exc for n in ast.walk(tree) if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)]
    for error in {call.func.id for call in calls}:
        assert error in sections(FUNCTIONS[name]).get("Raises", ""), f"{name} raises {error}"


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_method_has_a_docstring(name):
    for method in vars(CLASSES[name]).values():
        method = getattr(method, "__func__", method)
        if inspect.isfunction(method) and not method.__name__.startswith("_"):
            assert inspect.getdoc(method), method.__qualname__


# The formulas that have a source; the rest are definitions, or ours.
SOURCED = [
    *("reference.batch_statistics", "reference.merge_statistics", "reference.unbiased_variance"),
    *("reference.algorithm2", "reference.pooled", "reference.whiten_zca"),
    *("reference.batch_norm_forward", "reference.inference_batch_norm", "reference.fold_batch_norm"),
    *("reference.batch_norm_backward_stepwise", "reference.importance_weights"),
    *("layers.training_batch_norm", "layers.inference_batch_norm", "layers.HandmadeBatchNorm"),
    *("layers.BatchNorm", "layers.fold_pair", "layers.algorithm2", "layers.pooled"),
    *("layers.recompute_statistics", "lab.PaperNetwork"),
]


@pytest.mark.parametrize("name", SOURCED)
def test_a_formula_from_the_literature_names_its_source(name):
    floor, name = name.split(".")
    documented = getattr(importlib.import_module(f"bnlib.{floor}"), name)
    assert re.search(r"Source: .*\b(19|20)\d\d\b", sections(documented)["Notes"])


def test_the_same_thing_has_the_same_name_on_both_floors():
    shared = {"batch_statistics", "normalize", "inference_batch_norm", "pooled", "algorithm2"}
    for floor in ("reference", "layers"):
        assert shared <= vars(importlib.import_module(f"bnlib.{floor}")).keys()
