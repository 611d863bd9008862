"""The museum keeps its promises: exhibits with all their parts, soon read, each found by its symptom."""

import copy
import re

import nbformat
import pytest
import yaml

REQUIRED = {
    "detached": "statistics outside the gradient",
    "cancellation": "E[x^2] - E[x]^2",
    "biased-kept": "the biased variance kept",
    "not-saved": "statistics not saved",
    "graph": "statistics that drag the graph along",
    "grad-mode": "the mode read from the grad mode",
    "forgot-eval": "forgetting eval()",
    "eval-worse": "eval() that looks worse than train()",
    "one-value": "a batch of one",
    "ragged": "a ragged last batch",
    "requires-grad": "freezing by requires_grad",
    "momentum": "momentum carried over between frameworks",
    "accumulation": "accumulation taken for a large batch",
    "checkpointing": "checkpointing counting twice",
    "nan": "NaN under mixed precision",
    "padding": "padding in the statistics",
    "weight-averaging": "weight averaging without new statistics",
    "folded-bias": "folding with a forgotten bias",
    "folded-border": "batch norm, then a zero-padded convolution",
    "blind-check": "a gradient check that cannot fail",
    "ddp": "statistics of each process",
    "bias-decay": "bias and weight decay where they do nothing",
    "sync-hang": "synchronized norms that wait for each other",
    "leak": "contrastive learning that reads the batch",
    "teacher": "a moving average of weights with stale buffers",
    "target": "target networks in reinforcement learning",
    "one-per-group": "group norm put in the place, one value a group",
    "vmap": "running statistics under vmap",
    "batch-mates": "samples of a generator that depend on their batch",
    "flag": "track_running_stats turned on a built layer",
    "adapter": "an adapter saved without statistics",
    "folded-quantized": "folding before low-bit quantization",
    "export-mode": "an export that forces training mode",
    "keras-trainable": "trainable=False in Keras",
    "update-ops": "forgotten UPDATE_OPS",
    "data-parallel": "DataParallel, which keeps one device's statistics",
    "mps": "wrong gradients on MPS",
    "cudnn": "cuDNN above 65,535 rows",
    "fix-gamma": "MXNet's fix_gamma",
    "half": "a variance too large for half precision",
    "gradient-penalty": "a gradient penalty with batch norm in the critic",
    "momentum-zero": "freezing by momentum 0",
    "by-type": "recipes by type on another norm",
}
PARTS = ["**Symptom.**", "**Why.**", "**Fix.**", "**Check.**"]
EXHIBIT = re.compile(r"^\(mistake-([\w-]+)\)=\n##+ (.+)$", flags=re.MULTILINE)
SECTION = re.compile(r"^## ", flags=re.MULTILINE)
THREAD = re.compile(r"\]\(https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+\)")
TOLD = "*Told, not run here.*"
INDEX = "## Find it by its symptom"
ROW = re.compile(r"^\| (.+) \| \[(.+)\]\((\w+)\.ipynb#(\S+)\) \|$", flags=re.MULTILINE)
MINUTES = 5  # that an exhibit may take, at 200 words a minute and 10 s for a line of code that is not folded
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}


@pytest.fixture(scope="module")
def museum(book):
    """Map the stem of each page, the index and the rooms, to its notebook."""
    return {
        path.stem: nbformat.read(path, as_version=nbformat.NO_CONVERT)
        for path in book.glob("mistakes*.ipynb")
    }


def exhibits(museum):
    """Map each exhibit's name to its cells: from its target to the next exhibit, or the next section."""
    found = {}
    for page in museum.values():
        current = None
        for cell in page.cells:
            if cell.cell_type == "markdown":
                if start := EXHIBIT.search(cell.source):
                    current = found.setdefault(start[1], [])
                elif SECTION.search(cell.source):
                    current = None
            if current is not None:
                current.append(cell)
    return found


def slug(title):
    """Make the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def places(museum):
    """Map each exhibit's (title, page, anchor), as the index should have it, to the exhibit's name."""
    return {
        (title, stem, slug(title)): name
        for stem, page in museum.items()
        for name, title in EXHIBIT.findall(prose(page.cells))
    }


def index(museum):
    """Give each row of the index as (what one sees, (title, page, anchor) of the exhibit)."""
    rows = [
        row
        for cell in museum["mistakes"].cells
        if cell.source.startswith(INDEX)
        for row in ROW.findall(cell.source)
    ]
    return [(symptom, tuple(place)) for symptom, *place in rows]


def outputs(page):
    """Give everything the cells of a page printed or raised, in one line."""
    texts = [
        output.text if output.output_type == "stream" else f"{output.ename}: {output.evalue}"
        for cell in page.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type in ("stream", "error")
    ]
    return " ".join(" ".join(texts).split())


def missing_exhibits(museum):
    return sorted(REQUIRED.keys() - exhibits(museum).keys())


def on_the_index_page(museum):
    """Name the exhibits that stand where one only looks up the way to them."""
    return sorted(exhibits({"mistakes": museum["mistakes"]}))


def prose(cells):
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def incomplete(museum):
    """Name the exhibits that lack a part, or have the parts in another order, or too few or many cells."""
    named = {}
    for name, cells in exhibits(museum).items():
        text = prose(cells)
        found = [text.find(part) for part in PARTS]
        if -1 in found or found != sorted(found):
            named[name] = "parts"
        code = sum(cell.cell_type == "code" for cell in cells)
        if (code > 0) if TOLD in text else (code < 2):
            named[name] = "cells"
    return named


def minutes(cells):
    """Return the time that it takes to read words and code; mathematics and addresses count nothing."""
    text = re.sub(r"\$[^$]*\$|\{[^}]*\}|\]\([^)]*\)", " ", prose(cells))
    visible = [
        cell.source
        for cell in cells
        if cell.cell_type == "code" and not FOLDED & set(cell.metadata.get("tags", []))
    ]
    lines = [line for source in visible for line in source.splitlines() if line.strip()]
    return len(re.findall(r"[A-Za-z]{2,}", text)) / 200 + len(lines) * 10 / 60


def too_long(museum):
    times = {name: minutes(cells) for name, cells in exhibits(museum).items()}
    return {name: round(time, 1) for name, time in times.items() if time > MINUTES}


def without_a_thread(museum):
    """Name the exhibits that no public thread is linked from."""
    return [name for name, cells in exhibits(museum).items() if not THREAD.search(prose(cells))]


def never_failing(museum):
    """Name the exhibits whose check is not shown to refuse the wrong code and to accept the right one."""
    named = []
    for name, cells in exhibits(museum).items():
        if TOLD in prose(cells):
            continue
        start = next((i for i, cell in enumerate(cells) if "**Check.**" in cell.source), len(cells))
        code = "\n".join(cell.source for cell in cells[start:] if cell.cell_type == "code")
        claims = re.findall(r"^assert (.+)$", code, flags=re.MULTILINE)
        if len(claims) < 2:
            named.append(name)
    return named


def not_in_the_index(museum):
    known = {place for _, place in index(museum)}
    return sorted(name for place, name in places(museum).items() if place not in known)


def misleading(museum):
    """Give the rows whose link has no target, or another title than the exhibit."""
    return [row for row in index(museum) if row[1] not in places(museum)]


def is_message(symptom):
    return re.fullmatch(r"`\w*(Error|Warning): [^`]+`", symptom)


def never_raised(museum):
    """Give the messages of the index that no cell of the page they lead to has put out."""
    seen = {stem: outputs(page) for stem, page in museum.items()}
    return [
        symptom
        for symptom, (_, stem, _) in index(museum)
        if is_message(symptom) and symptom.strip("`") not in seen.get(stem, "")
    ]


def slips(museum):
    """Give the errors that nobody makes on purpose, though their cells may raise one."""
    errors = [
        f"{output.ename}: {output.evalue}"
        for page in museum.values()
        for cell in page.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "error"
    ]
    return [
        error for error in errors if re.match("(Attribute|Name|Import|ModuleNotFound|Syntax)Error", error)
    ]


FAULTS = [
    missing_exhibits,
    on_the_index_page,
    incomplete,
    too_long,
    without_a_thread,
    never_failing,
    not_in_the_index,
    misleading,
    never_raised,
    slips,
]


@pytest.mark.parametrize("faults", FAULTS)
def test_the_museum_has_no(faults, museum):
    assert not faults(museum)


def test_the_rooms_are_the_sections_of_the_index(root, museum):
    parts = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    (entry,) = [e for part in parts for e in part["chapters"] if e["file"] == "book/mistakes"]
    rooms = [section["file"].removeprefix("book/") for section in entry["sections"]]
    assert sorted(rooms) == sorted(museum.keys() - {"mistakes"})


def test_a_reader_can_search_for_messages_and_for_words(museum):
    messages = [row for row in index(museum) if is_message(row[0])]
    assert len(messages) >= 10
    assert len(index(museum)) - len(messages) >= 20


def test_the_messages_come_first(museum):
    kinds = [is_message(symptom) is None for symptom, _ in index(museum)]
    assert kinds == sorted(kinds)


def test_the_rows_of_the_index_are_all_read(museum):
    # A row that ROW does not match would be checked by nobody.
    (cell,) = [cell for cell in museum["mistakes"].cells if cell.source.startswith(INDEX)]
    rows = [line for line in cell.source.splitlines() if line.startswith("| ")]
    assert len(rows) - 2 == len(index(museum))  # two tables, a head each


def test_a_minute_is_two_hundred_words_or_six_lines():
    words = nbformat.v4.new_markdown_cell("word " * 200 + "$x + y$ {ref}`is` [a](https://example.org)")
    code = nbformat.v4.new_code_cell("one = 1\n\n" * 6)
    assert minutes([words]) == pytest.approx(1.0, abs=0.02)
    assert minutes([code]) == 1
    code.metadata["tags"] = ["hide-input"]
    assert minutes([code]) == 0


def damaged(museum, old, new):
    """Copy the museum with a word of its text and of its outputs changed."""
    other = copy.deepcopy(museum)
    assert any(old in cell.source for page in other.values() for cell in page.cells)
    for cell in (cell for page in other.values() for cell in page.cells):
        cell.source = cell.source.replace(old, new)
        for output in cell.get("outputs", []):
            for key in ("text", "evalue"):
                if key in output:
                    output[key] = output[key].replace(old, new)
    return other


def without_outputs(museum):
    other = copy.deepcopy(museum)
    for page in other.values():
        for cell in page.cells:
            if cell.cell_type == "code":
                cell.outputs = []
    return other


def misspelled(museum):
    other = copy.deepcopy(museum)
    outputs = [o for page in other.values() for cell in page.cells for o in cell.get("outputs", [])]
    next(o for o in outputs if o.output_type == "error").ename = "NameError"
    return other


def unfolded(museum):
    other = copy.deepcopy(museum)
    for page in other.values():
        for cell in page.cells:
            cell.metadata.pop("tags", None)
    return other


DAMAGE = {
    missing_exhibits: lambda museum: damaged(museum, "(mistake-ragged)=", "(ragged)="),
    on_the_index_page: lambda museum: {"mistakes": museum["mistakes_inside"]},
    incomplete: lambda museum: damaged(museum, "**Fix.** `drop_last=True`", "`drop_last=True`"),
    too_long: unfolded,
    without_a_thread: lambda museum: damaged(museum, "/fastai/fastai/issues/", "/fastai/"),
    never_failing: lambda museum: damaged(museum, "assert not follow_the_data", "follow_the_data"),
    not_in_the_index: lambda museum: damaged(museum, "#a-ragged-last-batch) |", "#one-nan-for-ever) |"),
    misleading: lambda museum: damaged(museum, "#a-ragged-last-batch) |", "#a-rugged-last-batch) |"),
    never_raised: without_outputs,
    slips: misspelled,
}


@pytest.mark.parametrize("faults", FAULTS)
def test_a_damaged_museum_is_noticed(faults, museum):
    assert faults(DAMAGE[faults](museum))


def test_a_changed_part_order_and_a_missing_cell_are_noticed(museum):
    turned = damaged(damaged(museum, "**Why.**", "**Fix?**"), "**Fix.**", "**Why.**")
    assert incomplete(damaged(turned, "**Fix?**", "**Fix.**"))
    short = copy.deepcopy(museum)
    name, cells = next(iter(exhibits(short).items()))
    gone = [id(cell) for cell in cells if cell.cell_type == "code"][1:]
    for page in short.values():
        page.cells = [cell for cell in page.cells if id(cell) not in gone]
    assert name in incomplete(short)
