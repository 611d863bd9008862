"""The contents and the files agree, and every chapter has the shape a reader learns to expect."""

import re

import nbformat
import pytest
import yaml

#: The document that the book grew out of: its chapters come in its order, whatever is put between them.
DOCUMENT = ["covariate_shift", "normalization", "algorithm", "inference", "experiments", "conclusion"]


@pytest.fixture(scope="module")
def toc(root):
    return yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))


def chapters_of(toc):
    """Give each chapter as a list: its page, and those of its sections."""
    entries = [entry for part in toc["parts"] for entry in part["chapters"]]
    sections = [[section["file"] for section in entry.get("sections", [])] for entry in entries]
    return [[toc["root"]], *([entry["file"], *more] for entry, more in zip(entries, sections, strict=True))]


def pages_of(toc):
    return [page for chapter in chapters_of(toc) for page in chapter]


def test_the_pages_of_the_contents_are_the_files(root, book, toc):
    # only_build_toc_files hides a forgotten chapter without a word, so the build cannot notice this.
    files = [
        p for kind in ("*.md", "*.ipynb") for p in book.rglob(kind) if ".ipynb_checkpoints" not in p.parts
    ]
    stems = {path.relative_to(root).with_suffix("").as_posix() for path in files}
    pages = pages_of(toc)
    assert sorted(stems - set(pages)) == [], (
        "each is a page without its line in _toc.yml: `- file: book/NAME`"
    )
    assert sorted(set(pages) - stems) == [], "_toc.yml names what is neither an .ipynb nor an .md"
    assert sorted(pages) == sorted(set(pages)), "_toc.yml names a page twice"


def test_the_chapters_follow_the_argument(toc):
    assert toc["root"] == "book/introduction"
    first = [entry["file"].removeprefix("book/") for entry in toc["parts"][0]["chapters"]]
    assert [name for name in first if name in DOCUMENT] == DOCUMENT
    assert first[-1] == "conclusion", "the conclusion closes the first part: put the chapter before it"
    # Pages to look things up in carry no number.
    assert [part["caption"] for part in toc["parts"] if not part.get("numbered")] == ["Reference"]


def test_the_introduction_asks_each_chapters_question(book, toc):
    # book/_ext/bnbook.py shows the question at the end of the chapter before, too.
    introduction = text_of(nbformat.read(book / "introduction.ipynb", as_version=nbformat.NO_CONVERT))
    asked = re.findall(r"^- \[[^\]]+\]\((\w+)\.ipynb\): .*\?", introduction, flags=re.MULTILINE)
    numbered = [part["chapters"] for part in toc["parts"] if part.get("numbered")]
    assert [f"book/{name}" for name in asked] == [chapter["file"] for part in numbered for chapter in part], (
        "expected a line in the introduction: `- [Title](NAME.ipynb): Question?`"
    )


def test_the_download_button_has_a_file_to_serve(root):
    # Without the copies the button of every page led to an empty name: a 404 that no check of the links sees.
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    assert config["sphinx"]["config"].get("html_copy_source", True)


def text_of(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_a_notebook_opens_with_a_title_and_a_question(notebook):
    opening = "\n".join(cell.source for cell in notebook.cells[:3] if cell.cell_type == "markdown")
    titled = notebook.cells[0].cell_type == "markdown" and opening.lstrip().startswith("# ")
    assert titled, "the first cell begins with the page's title: `# Title`"
    assert "?" in opening, "one of the first three cells asks the question that the page answers"


def test_a_notebook_has_one_title(notebook):
    titles = re.findall(r"^# .*", text_of(notebook), flags=re.MULTILINE)
    assert len(titles) == 1, "expected one `# Title`; sections begin with ##"


def test_a_chapter_has_exercises_with_folded_answers_and_further_reading(root, toc, notebook_path):
    if notebook_path.stem == "colophon":
        pytest.skip("a page of reference, with nothing to practise")
    (chapter,) = [pages for pages in chapters_of(toc) if f"book/{notebook_path.stem}" in pages]
    paths = [(root / page).with_suffix(".ipynb") for page in chapter]
    text = "\n\n".join(text_of(nbformat.read(path, as_version=nbformat.NO_CONVERT)) for path in paths)
    headings = re.findall(r"^#{2,3} (Exercise|Further reading)s?\b", text, re.MULTILINE | re.IGNORECASE)
    missing = {"exercise", "further reading"} - {heading.lower() for heading in headings}
    assert missing == set(), "a chapter closes with `## Exercises` and `## Further reading`"
    folded = re.search(r"\{dropdown\}|:class: dropdown|<details", text)
    assert folded, "an exercise's answer is folded away: `:class: dropdown`"


def named_at_the_end(notebook):
    """The files and folders that a notebook's last line names."""
    last_line = notebook.cells[-1].source.strip().splitlines()[-1]
    return re.findall(r"(?:bnlib|tests|tools)/[\w./-]*[\w/]", last_line)


def test_a_notebook_ends_by_naming_its_code_and_tests(root, notebook):
    paths = named_at_the_end(notebook)
    folders = {path.partition("/")[0] for path in paths}
    assert {"bnlib", "tests"} <= folders, "its last line reads *Code: `bnlib/...`; tests: `tests/...`.*"
    assert [path for path in paths if not (root / path).exists()] == [], "named, but not there"


def test_every_module_is_found_from_a_chapter_or_has_a_test_of_its_name(root, book):
    pages = [nbformat.read(path, as_version=nbformat.NO_CONVERT) for path in book.glob("*.ipynb")]
    found = {path for page in pages for path in named_at_the_end(page)}
    modules = [path.relative_to(root) for path in (root / "bnlib").glob("*/[!_]*.py")]
    lost = [
        str(path)
        for path in modules
        if not found & {path.as_posix(), f"{path.parent.as_posix()}/"}  # itself, or its whole folder
        and not (root / "tests" / path.parent.name / f"test_{path.name}").exists()
    ]
    assert lost == [], "name each in the last line of its chapter, or test it in tests/FLOOR/test_NAME.py"
