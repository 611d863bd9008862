"""The table of contents and the files agree, and every chapter has the shape a reader learns to expect."""

import re

import pytest
import yaml

CHAPTERS = [
    "covariate_shift",
    "normalization",
    "algorithm",
    "inference",
    "experiments",
    "full_experiment",
    "conclusion",
]
IN_PRACTICE = ["frameworks", "mistakes"]
REFERENCE = ["notation", "api", "references", "colophon"]


@pytest.fixture(scope="module")
def toc(root):
    return yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))


def pages_of(toc):
    return [toc["root"], *(entry["file"] for part in toc["parts"] for entry in part["chapters"])]


def test_every_page_of_the_contents_is_a_file(root, toc):
    missing = [
        p for p in pages_of(toc) if not any((root / f"{p}{end}").exists() for end in (".ipynb", ".md"))
    ]
    assert missing == []


def test_every_file_is_in_the_contents(root, book, toc):
    # only_build_toc_files hides a forgotten chapter without a word, so the build cannot notice this.
    files = [
        p for p in book.rglob("*") if p.suffix in (".md", ".ipynb") and ".ipynb_checkpoints" not in p.parts
    ]
    stems = sorted(path.relative_to(root).with_suffix("").as_posix() for path in files)
    assert stems == sorted(pages_of(toc))


def test_the_chapters_follow_the_argument(toc):
    assert toc["root"] == "book/introduction"
    named = [[entry["file"].removeprefix("book/") for entry in part["chapters"]] for part in toc["parts"]]
    assert named == [CHAPTERS, IN_PRACTICE, REFERENCE]
    assert [part.get("numbered", False) for part in toc["parts"]] == [True, True, False]


def text_of(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_a_notebook_opens_with_a_title_and_a_question(notebook):
    opening = notebook.cells[0]
    assert opening.cell_type == "markdown"
    assert opening.source.lstrip().startswith("# ")
    assert "?" in "\n".join(cell.source for cell in notebook.cells[:3] if cell.cell_type == "markdown")


def test_a_notebook_has_one_title(notebook):
    assert len(re.findall(r"^# ", text_of(notebook), flags=re.MULTILINE)) == 1


def test_a_chapter_has_exercises_with_folded_answers_and_further_reading(notebook_path, notebook):
    if notebook_path.stem == "colophon":
        pytest.skip("a page of reference, with nothing to practise")
    text = text_of(notebook)
    assert re.search(r"^#{2,3} Exercises?\b", text, flags=re.MULTILINE | re.IGNORECASE)
    assert re.search(r"^#{2,3} Further reading\b", text, flags=re.MULTILINE | re.IGNORECASE)
    assert re.search(r"\{dropdown\}|:class: dropdown|<details", text), "the answers should be folded away"


def test_a_notebook_ends_by_naming_its_code_and_tests(root, notebook):
    last_line = notebook.cells[-1].source.strip().splitlines()[-1]
    paths = re.findall(r"(?:bnlib|tests|tools)/[\w./-]*[\w/]", last_line)
    assert any(path.startswith("bnlib/") for path in paths)
    assert any(path.startswith("tests/") for path in paths)
    assert [path for path in paths if not (root / path).exists()] == []
