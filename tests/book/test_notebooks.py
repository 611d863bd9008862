"""Every notebook is stored as it came out of one run, with nothing in it that a second run would change."""

import re
import symtable

import nbformat
import pytest

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
RUN = "expected what `make run NOTEBOOKS=book/NAME.ipynb` stores: run it"


def test_it_is_a_valid_notebook(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5), RUN


def test_it_was_executed_in_order(code_cells):
    # nbval runs a cell without a count but compares nothing: a stripped notebook would pass.
    assert [cell.execution_count for cell in code_cells] == list(range(1, len(code_cells) + 1)), RUN


def test_its_metadata_is_the_same_for_everyone(notebook):
    assert notebook.metadata == METADATA, RUN


def test_it_stores_no_times(notebook):
    assert [cell.id for cell in notebook.cells if "execution" in cell.metadata] == [], RUN


def test_it_stores_no_stderr(code_cells):
    loud = [
        cell.id
        for cell in code_cells
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert loud == []


def test_it_stores_no_error_but_those_made_on_purpose(code_cells):
    failed = [
        cell.id
        for cell in code_cells
        if any(output.output_type == "error" for output in cell.outputs)
        and "raises-exception" not in cell.metadata.get("tags", [])
    ]
    assert failed == []


def test_its_outputs_hold_no_address_of_an_object(code_cells):
    # <matplotlib.axes.Axes at 0x7f...> is another one in every run.
    texts = {
        cell.id: str([output.get("data", output.get("text", "")) for output in cell.outputs])
        for cell in code_cells
    }
    assert [name for name, text in texts.items() if re.search(r"\bat 0x[0-9a-f]{6,}", text)] == []


def has_image(cell):
    return any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))


def test_every_figure_says_what_is_to_be_seen(code_cells):
    for cell in filter(has_image, code_cells):
        about = cell.metadata.get("mystnb", {})
        alt = about.get("image", {}).get("alt", "")
        caption = about.get("figure", {}).get("caption", "")
        name = about.get("figure", {}).get("name", "")
        assert len(alt.strip()) >= 40, f"{cell.id}: expected an alt text of a sentence (got {alt!r})"
        assert not re.search(r"\.(png|svg|jpe?g)$", alt.strip()), f"{cell.id}: the alt text is a file's name"
        assert caption.strip(), f"{cell.id}: no caption"
        assert name.startswith("fig-"), (
            f"{cell.id}: expected a figure name that begins with fig- (got {name!r})"
        )


def test_a_figure_cell_draws_one_figure(code_cells):
    # The caption belongs to the cell; of two figures only one would have it.
    counts = {
        cell.id: sum(any(k.startswith("image/") for k in output.get("data", {})) for output in cell.outputs)
        for cell in code_cells
    }
    assert {name: count for name, count in counts.items() if count > 1} == {}


LINES, COLUMNS = 20, 82  # of code, that a page shows without scrolling


def test_a_cell_of_code_is_seen_at_one_glance(code_cells):
    lengths = {cell.id: sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code_cells}
    long = {name: length for name, length in lengths.items() if length > LINES}
    assert long == {}, f"expected at most {LINES} lines in a cell, folded or not: split them, an act a cell"


SOURCE_BOX = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def shown_code(cell):
    """The code of a cell, and the source that it shows."""
    texts = [output.get("data", {}).get("text/markdown", "") for output in cell.outputs]
    return [cell.source, *(box for text in texts for box in SOURCE_BOX.findall(text))]


def test_code_fits_the_width_of_the_page(code_cells):
    wide = [
        f"{cell.id}: {line}"
        for cell in code_cells
        for code in shown_code(cell)
        for line in code.splitlines()
        if len(line) > COLUMNS
    ]
    what_to_do = f"expected at most {COLUMNS} characters; wrap these (what a cell shows, in the package):"
    assert not wide, "\n".join([what_to_do, *wide])


FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}


def scopes(table):
    yield table
    for inner in table.get_children():
        yield from scopes(inner)


def names(source):
    """What a cell binds, and what it reads of the cells above."""
    cell = symtable.symtable(source, "cell", "exec")
    bound = {name.get_name() for name in cell.get_symbols() if name.is_assigned() or name.is_imported()}
    read = {
        name.get_name()
        for scope in scopes(cell)
        for name in scope.get_symbols()
        if name.is_referenced() and (scope is cell or name.is_global())
    }
    return bound, read - bound


def test_names_knows_what_belongs_to_a_function():
    source = "import a.b as c\nd = [e for e in f(c)]\ndef g(h):\n    return h + i(d)"
    assert names(source) == ({"c", "d", "g"}, {"f", "i"})


def test_what_a_visible_cell_reads_is_defined_in_a_visible_one(code_cells):
    folded, found = {}, []  # each name with the folded cell that bound it last
    for cell in code_cells:
        bound, read = names(cell.source)
        if FOLDED & set(cell.metadata.get("tags", [])):
            folded |= dict.fromkeys(bound, cell.id)
            continue
        found += [f"{cell.id} reads {name} of {folded[name]}" for name in sorted(read & folded.keys())]
        folded = {name: where for name, where in folded.items() if name not in bound}
    what_to_do = "expected folded cells only to draw; move these into a visible cell, imports included:"
    assert not found, "\n".join([what_to_do, *found])


CHECK = re.compile(r"^\s*assert\b|\bshow_agreements?\(|\bassert_\w+\(", flags=re.MULTILINE)
REASON = re.compile(r"^\s*# \w+", flags=re.MULTILINE)


def test_what_is_not_compared_is_checked_beside(code_cells):
    """An output that nbval ignores has a check in its cell or the next two, is a picture, or says why not."""
    unchecked = [
        cell.id
        for i, cell in enumerate(code_cells)
        if "nbval-ignore-output" in cell.metadata.get("tags", [])
        and not any(CHECK.search(near.source) for near in code_cells[i : i + 3])
        and not has_image(cell)
        and not REASON.search(cell.source)
    ]
    assert unchecked == []


def test_no_cell_is_skipped(code_cells):
    tags = [tag for cell in code_cells for tag in cell.metadata.get("tags", [])]
    assert "nbval-skip" not in tags
    # The comments do what the tags do, but they show on the page.
    assert not any("NBVAL_" in cell.source for cell in code_cells)


KNOWN_TAGS = {
    "nbval-ignore-output",
    "raises-exception",
    "hide-input",
    "hide-output",
    "hide-cell",
    "remove-input",
    "remove-output",
    "remove-cell",
    "scroll-output",
    "full-width",
    "margin",
}


def test_every_tag_does_something(notebook):
    tags = {tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    assert tags - KNOWN_TAGS == set()


def test_figure_names_are_used_once(book):
    names = [
        cell.metadata["mystnb"]["figure"]["name"]
        for path in sorted(book.glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=nbformat.NO_CONVERT).cells
        if "name" in cell.metadata.get("mystnb", {}).get("figure", {})
    ]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("pattern", [r"/(home|Users|root|tmp|work|opt|mnt|srv)/", r"[A-Z]:\\\\?Users"])
def test_no_page_knows_the_machine_it_was_made_on(root, book, pattern):
    pages = [*book.rglob("*.md"), *book.glob("*.ipynb"), root / "README.md"]
    # A picture is base64, in which anything may be spelled by chance.
    picture = re.compile(r'"image/\w+": "[^"]*"')
    found = [p.name for p in pages if re.search(pattern, picture.sub("", p.read_text(encoding="utf-8")))]
    assert found == []
