"""The chapter on mistakes keeps its promises: exhibits with all their parts, each found by its symptom."""

import ast
import builtins
import copy
import re

import nbformat
import pytest

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
}
PARTS = ["**Symptom.**", "**Why.**", "**Fix.**", "**Check.**"]
EXHIBIT = re.compile(r"^\(mistake-([\w-]+)\)=\n### (.+)$", flags=re.MULTILINE)
ROOM = re.compile(r"^## (.+)$", flags=re.MULTILINE)
THREAD = re.compile(r"\]\(https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+\)")
TOLD = "*Told, not run here.*"
INDEX = "## Find it by its symptom"
ROW = re.compile(r"^\| (.+) \| \[(.+)\]\(#mistake-([\w-]+)\) \|$", flags=re.MULTILINE)


@pytest.fixture(scope="module")
def chapter(book):
    return nbformat.read(book / "mistakes.ipynb", as_version=nbformat.NO_CONVERT)


def exhibits(chapter):
    """Map each exhibit's name to its cells: from its target to the next exhibit, or the next room."""
    found, current = {}, None
    for cell in chapter.cells:
        if cell.cell_type == "markdown":
            if start := EXHIBIT.search(cell.source):
                current = found.setdefault(start[1], [])
            elif ROOM.search(cell.source):
                current = None
        if current is not None:
            current.append(cell)
    return found


def titles(chapter):
    text = "\n\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")
    return dict(EXHIBIT.findall(text))


def index(chapter):
    """Give each row of the index as (what one sees, title, name of the exhibit)."""
    return [
        row for cell in chapter.cells if cell.source.startswith(INDEX) for row in ROW.findall(cell.source)
    ]


def outputs(chapter):
    """Give everything the cells printed or raised, in one line."""
    texts = [
        output.text if output.output_type == "stream" else f"{output.ename}: {output.evalue}"
        for cell in chapter.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type in ("stream", "error")
    ]
    return " ".join(" ".join(texts).split())


def missing_exhibits(chapter):
    return sorted(REQUIRED.keys() - exhibits(chapter).keys())


def prose(cells):
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def incomplete(chapter):
    """Name the exhibits that lack a part, or have the parts in another order, or too few or many cells."""
    named = {}
    for name, cells in exhibits(chapter).items():
        text = prose(cells)
        places = [text.find(part) for part in PARTS]
        if -1 in places or places != sorted(places):
            named[name] = "parts"
        code = sum(cell.cell_type == "code" for cell in cells)
        if (code > 0) if TOLD in text else (code < 2):
            named[name] = "cells"
    return named


def without_a_thread(chapter):
    """Name the exhibits that no public thread is linked from."""
    return [name for name, cells in exhibits(chapter).items() if not THREAD.search(prose(cells))]


def never_failing(chapter):
    """Name the exhibits whose check is not shown to refuse the wrong code and to accept the right one."""
    named = []
    for name, cells in exhibits(chapter).items():
        if TOLD in prose(cells):
            continue
        start = next((i for i, cell in enumerate(cells) if "**Check.**" in cell.source), len(cells))
        code = "\n".join(cell.source for cell in cells[start:] if cell.cell_type == "code")
        claims = re.findall(r"^assert (.+)$", code, flags=re.MULTILINE)
        if len(claims) < 2:
            named.append(name)
    return named


def not_in_the_index(chapter):
    return sorted(exhibits(chapter).keys() - {name for _, _, name in index(chapter)})


def misleading(chapter):
    """Give the rows whose link has no target, or another title than the exhibit."""
    named = titles(chapter)
    return [row for row in index(chapter) if named.get(row[2]) != row[1]]


def is_message(symptom):
    return re.fullmatch(r"`\w*(Error|Warning): [^`]+`", symptom)


def never_raised(chapter):
    """Give the messages of the index that no cell has put out."""
    seen = outputs(chapter)
    return [
        symptom for symptom, _, _ in index(chapter) if is_message(symptom) and symptom.strip("`") not in seen
    ]


def rooms(chapter):
    """Map each room's title to its code, "" to that before the first."""
    title, code = "", {}
    for cell in chapter.cells:
        if cell.cell_type == "code":
            code.setdefault(title, []).append(cell.source)
        elif (heading := ROOM.search(cell.source)) and not cell.source.startswith(INDEX):
            title = heading[1]
    return code


def bound(tree):
    """Give the names that a cell binds, at any depth."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def leaning(chapter):
    """Give the names that a room takes from another room: it could not become a page of its own.

    The last room, with the exercises, may lean on the first.
    """
    code = rooms(chapter)
    known = {*dir(builtins), "get_ipython"}.union(*(bound(ast.parse(cell)) for cell in code.pop("")))
    first, *_, last = code
    taken = {}
    for room, cells in code.items():
        here = set(known).union(*(bound(ast.parse(cell)) for cell in code[first] if room == last))
        for tree in map(ast.parse, cells):
            here |= bound(tree)
            loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            if missing := loaded - here:
                taken.setdefault(room, set()).update(missing)
    return taken


FAULTS = [
    missing_exhibits,
    incomplete,
    without_a_thread,
    never_failing,
    not_in_the_index,
    misleading,
    never_raised,
    leaning,
]


@pytest.mark.parametrize("faults", FAULTS)
def test_the_chapter_has_no(faults, chapter):
    assert not faults(chapter)


def test_a_reader_can_search_for_messages_and_for_words(chapter):
    messages = [row for row in index(chapter) if is_message(row[0])]
    assert len(messages) >= 10
    assert len(index(chapter)) - len(messages) >= 20


def test_the_messages_come_first(chapter):
    kinds = [is_message(symptom) is None for symptom, _, _ in index(chapter)]
    assert kinds == sorted(kinds)


def test_the_rows_of_the_index_are_all_read(chapter):
    # A row that ROW does not match would be checked by nobody.
    (cell,) = [cell for cell in chapter.cells if cell.source.startswith(INDEX)]
    rows = [line for line in cell.source.splitlines() if line.startswith("| ")]
    assert len(rows) - 2 == len(index(chapter))  # two tables, a head each


def damaged(chapter, old, new):
    """Copy the chapter with a word of its text and of its outputs changed."""
    other = copy.deepcopy(chapter)
    for cell in other.cells:
        cell.source = cell.source.replace(old, new)
        for output in cell.get("outputs", []):
            for key in ("text", "evalue"):
                if key in output:
                    output[key] = output[key].replace(old, new)
    return other


def without_outputs(chapter):
    other = copy.deepcopy(chapter)
    for cell in other.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    return other


DAMAGE = {
    missing_exhibits: lambda chapter: damaged(chapter, "(mistake-ragged)=", "(ragged)="),
    incomplete: lambda chapter: damaged(chapter, "**Fix.** `drop_last=True`", "`drop_last=True`"),
    without_a_thread: lambda chapter: damaged(chapter, "/fastai/fastai/issues/", "/fastai/"),
    never_failing: lambda chapter: damaged(chapter, "assert not follow_the_data", "follow_the_data"),
    leaning: lambda chapter: damaged(chapter, "from bnlib.layers import pooled", ""),
    not_in_the_index: lambda chapter: damaged(chapter, "](#mistake-ragged) |", "](#mistake-nan) |"),
    misleading: lambda chapter: damaged(chapter, "](#mistake-ragged) |", "](#mistake-rugged) |"),
    never_raised: without_outputs,
}


@pytest.mark.parametrize("faults", FAULTS)
def test_a_damaged_chapter_is_noticed(faults, chapter):
    assert faults(DAMAGE[faults](chapter))


def test_a_changed_part_order_and_a_missing_cell_are_noticed(chapter):
    turned = damaged(damaged(chapter, "**Why.**", "**Fix?**"), "**Fix.**", "**Why.**")
    assert incomplete(damaged(turned, "**Fix?**", "**Fix.**"))
    short = copy.deepcopy(chapter)
    name, cells = next(iter(exhibits(short).items()))
    gone = [id(cell) for cell in cells if cell.cell_type == "code"][1:]
    short.cells = [cell for cell in short.cells if id(cell) not in gone]
    assert name in incomplete(short)
