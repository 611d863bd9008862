import ast
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from IPython.display import Markdown

from bnlib import reference, show
from bnlib.layers import BatchNormBase, HandmadeBatchNorm, training_batch_norm
from bnlib.show import show_agreement, show_agreements, show_rows, show_source, show_table


def code(*objects):
    """What stands between the fences."""
    shown = show_source(*objects)
    assert isinstance(shown, Markdown)
    assert shown.data.startswith("```python\n")
    assert shown.data.endswith("\n```\n")
    return shown.data.removeprefix("```python\n").removesuffix("```\n")


def without_docstrings(source):
    """The syntax tree, which knows nothing of comments and blank lines."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree)


@pytest.mark.parametrize(
    "shown",
    [training_batch_norm, reference.batch_norm_backward, BatchNormBase, HandmadeBatchNorm, show_agreement],
)
def test_the_source_is_the_packages_own_without_docstrings(shown):
    whole = Path(sys.modules[shown.__module__].__file__).read_text(encoding="utf-8")
    (node,) = (n for n in ast.parse(whole).body if getattr(n, "name", None) == shown.__name__)
    assert ast.dump(ast.parse(code(shown))) == without_docstrings(ast.unparse(node))
    assert '"""' not in code(shown)


def test_comments_stay():
    assert "# as in torch.nn, both may be changed after construction" in code(BatchNormBase)


def test_several_objects_are_shown_in_the_order_given():
    text = code(reference.update_running, reference.batch_statistics)
    assert 0 == text.index("def update_running") < text.index("def batch_statistics")
    assert [n.name for n in ast.parse(text).body] == ["update_running", "batch_statistics"]


def test_a_method_is_shown_from_the_margin():
    assert code(HandmadeBatchNorm.forward).startswith("@staticmethod\ndef forward(x")


@pytest.mark.parametrize("what", [len, 3])
def test_what_has_no_python_source_is_refused(what):
    with pytest.raises(TypeError):
        show_source(what)


def test_agreement_prints_the_tolerance_and_not_the_difference(capsys):
    show_agreement("dx", np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-9]), tolerance=1e-8)
    assert capsys.readouterr().out == "dx: agree to 1e-08\n"


@pytest.mark.parametrize("other", [np.ones(3), torch.ones(3, requires_grad=True), [1, 1, 1]])
def test_arrays_tensors_and_lists_can_be_compared(other, capsys):
    show_agreement("ones", torch.ones(3), other)
    assert "agree to 1e-12" in capsys.readouterr().out


def test_the_tolerance_is_relative_to_one_plus_the_other():
    show_agreement("large", 1e6 + 0.5, 1e6, tolerance=1e-6)
    show_agreement("small", 5e-7, 0.0, tolerance=1e-6)
    with pytest.raises(AssertionError):
        show_agreement("large", 1e6 + 2, 1e6, tolerance=1e-6)


@pytest.mark.parametrize("off", [2e-6, -2e-6])
@pytest.mark.parametrize("entry", [0, 2])
def test_one_entry_further_off_than_the_tolerance_stops(off, entry, capsys):
    ours = np.zeros(3)
    ours[entry] = off
    with pytest.raises(AssertionError, match=r"y: expected agreement to 1e-06 \(got 2.00e-06\)"):
        show_agreement("y", ours, np.zeros(3), tolerance=1e-6)
    assert capsys.readouterr().out == ""


def test_another_shape_stops_even_if_it_broadcasts():
    with pytest.raises(AssertionError, match=r"one shape \(got \(3,\) and \(1, 3\)\)"):
        show_agreement("y", np.ones(3), np.ones((1, 3)))


@pytest.mark.parametrize(
    ("ours", "other"), [(np.nan, np.nan), (np.inf, np.inf), (1.0, np.inf), (np.nan, 1.0)]
)
def test_what_is_not_finite_stops(ours, other):
    with pytest.raises(AssertionError, match="finite"):
        show_agreement("y", ours, other)


def test_nothing_agrees_with_nothing():
    show_agreement("empty", np.ones((0, 3)), np.ones((0, 3)))


def test_show_offers_four_functions():
    assert show.__all__ == ["show_agreement", "show_agreements", "show_rows", "show_source", "show_table"]


def test_a_table_says_how_far_each_pair_is_apart_and_what_is_allowed():
    table = show_agreements({"a": (1.0, 1.0), "b": (torch.tensor([3.0, 0.0]), np.array([3.0, 0.25]), 0.5)})
    assert isinstance(table, Markdown)
    assert table.data.splitlines()[2:] == ["| a | 0 | 1e-12 |", "| b | 2e-01 | 5e-01 |"]


@pytest.mark.parametrize("pair", [(1.0, 1.1), (1.0, 3.0, 0.4), (np.nan, np.nan), (np.zeros(2), 0.0)])
def test_a_table_stops_at_a_pair_that_is_further_apart(pair):
    with pytest.raises(AssertionError, match="wrong: expected"):
        show_agreements({"right": (1.0, 1.0), "wrong": pair})


def test_a_table_has_a_line_for_each_row():
    table = show_table({"one": {"a": 1, "b": "x"}, "two": {"a": 0.5, "b": "y"}})
    assert isinstance(table, Markdown)
    assert table.data == "| | a | b |\n|:--|--:|--:|\n| one | 1 | x |\n| two | 0.5 | y |\n"


def test_the_rows_of_a_table_have_the_same_columns():
    with pytest.raises(ValueError, match=r"two: expected the columns \['a'\] \(got \['b'\]\)"):
        show_table({"one": {"a": 1}, "two": {"b": 2}})


def test_a_table_is_shown_row_by_row_under_its_head():
    table = show_rows(("step", "plain"), (1, 0.5), ("two", "x"))
    assert isinstance(table, Markdown)
    assert table.data == "| step | plain |\n|:--|--:|\n| 1 | 0.5 |\n| two | x |\n"


@pytest.mark.parametrize("row", [(1,), (1, 2, 3)])
def test_a_row_that_is_not_as_long_as_the_head_is_refused(row):
    with pytest.raises(ValueError, match="expected 2 entries in a row"):
        show_rows(("a", "b"), row)
