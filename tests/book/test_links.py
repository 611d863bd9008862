"""Every link inside the book leads somewhere; the strict build checks the rest, such as numbering."""

import re

import nbformat
import pytest

FENCE = re.compile(r"(`{3,}|~{3,})\s*(.*)")
INLINE_CODE = re.compile(r"(?<!\})(`+)(?!`)(?:.+?)(?<!`)\1(?!`)")
LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
ROLE = re.compile(r"\{([\w:]+)\}`([^`]+)`")
DEFINITIONS = [
    re.compile(r"^\(([\w.:-]+)\)=\s*$", flags=re.MULTILINE),  # (label)=
    re.compile(r"\$\$\s*\(([\w.:-]+)\)"),  # $$ ... $$ (label)
    re.compile(r"^\s*:(?:name|label):\s*([\w.:-]+)\s*$", flags=re.MULTILINE),
    re.compile(r"\\label\{([\w.:-]+)\}"),
]
TO_LABELS = {"ref", "numref", "eq", "math:numref", "prf:ref"}


def without_code(text):
    """Leave out fenced code, and keep what stands in directives: it is text of the page."""
    shown, code, directives = [], None, []
    for line in text.splitlines():
        fence = FENCE.match(line)
        if code:
            if fence and fence[1].startswith(code) and not fence[2]:
                code = None
            continue
        if fence and fence[2].startswith("{"):
            directives.append(fence[1])
        elif fence and not fence[2] and directives and fence[1].startswith(directives[-1]):
            directives.pop()
        elif fence:
            code = fence[1]
            continue
        shown.append(line)
    return "\n".join(shown)


def pages(root):
    """Yield (path, text, figure names) of every page, without its code."""
    for path in [*sorted((root / "book").glob("*.ipynb")), *sorted((root / "book").glob("*.md"))]:
        names = []
        if path.suffix == ".ipynb":
            cells = nbformat.read(path, as_version=nbformat.NO_CONVERT).cells
            text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
            figures = [cell.metadata.get("mystnb", {}).get("figure", {}) for cell in cells]
            names = [figure["name"] for figure in figures if "name" in figure]
            text += "".join(f"\n\n{figure.get('caption', '')}" for figure in figures)
        else:
            text = path.read_text(encoding="utf-8")
        yield path, without_code(text), names


@pytest.fixture(scope="module")
def all_pages(root):
    return list(pages(root))


@pytest.fixture(scope="module")
def labels(all_pages):
    found = {label for _, text, _ in all_pages for pattern in DEFINITIONS for label in pattern.findall(text)}
    return found | {name for _, _, names in all_pages for name in names}


@pytest.fixture(scope="module")
def bibliography(root):
    return set(
        re.findall(r"^@\w+\{([\w-]+),", (root / "book/references.bib").read_text("utf-8"), flags=re.MULTILINE)
    )


def slug(title):
    """Make the anchor of a heading as GitHub does, and as MyST does after it."""
    title = re.sub(r"\{[\w:]+\}`([^`]*)`", r"\1", title)
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def anchors(text):
    return {slug(title) for title in re.findall(r"^#{1,3} (.+)$", text, flags=re.MULTILINE)}


def broken_files(folder, text):
    links = [link for link in LINK.findall(INLINE_CODE.sub("", text)) if not re.match(r"[a-z]+:", link)]
    files = [link.partition("#")[0] for link in links]
    return [file for file in files if file and not (folder / file).exists()]


def test_links_lead_to_files(all_pages):
    assert {path.name: bad for path, text, _ in all_pages if (bad := broken_files(path.parent, text))} == {}


def test_links_beside_the_book_lead_to_files(root):
    texts = {path.name: without_code(path.read_text(encoding="utf-8")) for path in root.glob("*.md")}
    assert {name: bad for name, text in texts.items() if (bad := broken_files(root, text))} == {}


def test_links_lead_to_headings(all_pages, labels):
    known = {path.resolve(): anchors(text) for path, text, _ in all_pages}
    broken = []
    for path, text, _ in all_pages:
        for link in LINK.findall(INLINE_CODE.sub("", text)):
            file, _, anchor = link.partition("#")
            if not anchor or re.match(r"[a-z]+:", link):
                continue
            there = known.get((path.parent / file).resolve() if file else path.resolve(), set())
            if anchor not in there and anchor not in labels:
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_references_lead_to_labels(all_pages, labels):
    broken = []
    for path, text, _ in all_pages:
        for role, content in ROLE.findall(text):
            target = re.search(r"<([^>]+)>$", content)
            target = target[1] if target else content
            if role in TO_LABELS and target not in labels:
                broken.append(f"{path.name}: {{{role}}}`{content}`")
    assert broken == []


def test_citations_lead_to_the_bibliography(all_pages, bibliography):
    broken = [
        f"{path.name}: {key}"
        for path, text, _ in all_pages
        for role, keys in ROLE.findall(text)
        if role.startswith("cite")
        for key in re.split(r"\s*,\s*", keys.strip())
        if key not in bibliography
    ]
    assert broken == []


def test_labels_are_given_once(all_pages):
    given = [label for _, text, _ in all_pages for pattern in DEFINITIONS for label in pattern.findall(text)]
    given += [name for _, _, names in all_pages for name in names]
    assert sorted(given) == sorted(set(given))
