"""What the book shows of the package: its source, and that two ways to a number agree."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from IPython.display import Markdown

__all__ = ["show_agreement", "show_agreements", "show_rows", "show_source", "show_table"]


def show_source(*objects: Callable) -> Markdown:
    """The source of functions or classes as they are installed, without their docstrings.

    Parameters
    ----------
    *objects : function or class
        In the order in which they are to be shown.

    Returns
    -------
    IPython.display.Markdown
        One code block; the page colors it. The docstrings are on the API page.

    Raises
    ------
    TypeError
        If an object has no Python source.
    """
    blocks = [_without_docstrings(textwrap.dedent(inspect.getsource(o))) for o in objects]
    return Markdown("```python\n" + "\n\n".join(blocks) + "```\n")


def _without_docstrings(source: str) -> str:
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            for i in range(docstring.lineno - 1, docstring.end_lineno):
                lines[i] = ""
    return "".join(lines)


def show_agreement(what: str, ours, other, tolerance: float = 1e-12) -> None:
    """Print that two arrays agree, or stop.

    What is printed is the tolerance, not the difference: the same on every machine.

    Parameters
    ----------
    what : str
        Names the quantity on the page.
    ours, other : array or Tensor, or number
        Of one shape.
    tolerance : float
        Entries a and b agree if |a - b| <= tolerance (1 + |b|).

    Raises
    ------
    AssertionError
        If the shapes differ, a number is not finite, or an entry is further off than the tolerance.
    """
    _difference(what, ours, other, tolerance)
    print(f"{what}: agree to {tolerance:.0e}")


def show_agreements(pairs: Mapping[str, tuple], tolerance: float = 1e-12) -> Markdown:
    """A table of how far apart pairs of arrays are; or stop, if one pair is further apart than allowed.

    Parameters
    ----------
    pairs : mapping of str to (ours, other) or (ours, other, tolerance)
        What is compared -> two arrays or tensors of one shape, and a tolerance of its own.
    tolerance : float
        As in `show_agreement`, of the pairs that bring none.

    Returns
    -------
    IPython.display.Markdown
        The largest of |ours - other| / (1 + |other|), measured on this machine, and what is allowed.

    Raises
    ------
    AssertionError
        As in `show_agreement`.
    """
    rows = []
    for what, (ours, other, *own) in pairs.items():
        (allowed,) = own or [tolerance]
        worst = _difference(what, ours, other, allowed)
        rows.append((what, f"{worst:.0e}" if worst else "0", f"{allowed:.0e}"))
    return show_rows(("", "largest error", "allowed"), *rows)


def _difference(what: str, ours, other, tolerance: float) -> float:
    """The largest difference, if it is allowed."""
    ours, other = _array(ours), _array(other)
    assert ours.shape == other.shape, f"{what}: expected one shape (got {ours.shape} and {other.shape})"
    assert np.isfinite(ours).all() and np.isfinite(other).all(), f"{what}: expected finite numbers"
    worst = np.max(np.abs(ours - other) / (1 + np.abs(other)), initial=0.0)
    assert worst <= tolerance, f"{what}: expected agreement to {tolerance:.0e} (got {worst:.2e})"
    return float(worst)


def _array(a) -> np.ndarray:
    return np.asarray(a.detach() if hasattr(a, "detach") else a, dtype=np.float64)


def show_table(rows: Mapping[str, Mapping[str, object]]) -> Markdown:
    """A table of what was found.

    Parameters
    ----------
    rows : mapping of str to mapping of str to object
        Name of the row -> column -> entry, which is shown as it prints. All rows have the same columns.

    Raises
    ------
    ValueError
        If two rows have different columns.
    """
    columns = list(next(iter(rows.values())))
    for name, row in rows.items():
        if list(row) != columns:
            raise ValueError(f"{name}: expected the columns {columns} (got {list(row)})")
    return show_rows(("", *columns), *((name, *row.values()) for name, row in rows.items()))


def show_rows(head: Sequence, *rows: Sequence) -> Markdown:
    """A table row by row, under its head; each entry is shown as it prints.

    Raises
    ------
    ValueError
        If a row is not as long as the head.
    """
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"expected {len(head)} entries in a row (got {tuple(row)})")
    top, *body = ("| " + " | ".join(map(str, row)).lstrip() + " |" for row in (head, *rows))
    rule = "|:--" + "|--:" * (len(head) - 1) + "|"
    return Markdown("\n".join([top, rule, *body]) + "\n")
