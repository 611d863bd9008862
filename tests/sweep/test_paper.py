"""The paper's Figure 1 as it is stored: whole, inside its axes, with the numbers that the text gives."""

from pathlib import Path

import numpy as np
import pytest

from bnlib.sweep import read_paper_figure

STORED = Path(__file__).parents[2] / "book" / "results" / "paper_figure1.csv"


@pytest.fixture(scope="module")
def curves():
    return read_paper_figure(STORED)


def test_the_stored_file_says_where_it_is_from():
    header = [line for line in STORED.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert "arXiv:1502.03167v3" in header[0]
    assert STORED.stat().st_size < 40_000


def test_it_holds_two_curves_and_two_bands(curves):
    bands = {(panel, percentile) for panel in "bc" for percentile in ("15", "50", "85")}
    assert curves.keys() == {("a", "without BN"), ("a", "with BN")} | bands


def test_the_accuracies_lie_on_the_papers_axes(curves):
    for name in ("without BN", "with BN"):
        steps, accuracy = curves["a", name]
        assert 3_500 < steps[0] < 4_100 and 44_000 < steps[-1] < 50_000
        assert accuracy.min() > 0.7 and accuracy.max() < 1
    assert np.interp(7_563, *curves["a", "without BN"]) == pytest.approx(0.906, abs=1e-3)
    assert curves["a", "with BN"][1].max() == pytest.approx(0.9816, abs=1e-4)


@pytest.mark.parametrize(("name", "expected"), [("without BN", 37_000), ("with BN", 14_600)])
def test_the_steps_to_97_per_cent_are_those_of_the_text(curves, name, expected):
    steps, accuracy = curves["a", name]
    assert steps[accuracy >= 0.97][0] == pytest.approx(expected, abs=100)


def test_the_percentiles_are_in_their_order(curves):
    at = np.linspace(100, 49_900, 200)
    for panel in "bc":
        low, median, high = (np.interp(at, *curves[panel, p]) for p in ("15", "50", "85"))
        assert np.all(low < median) and np.all(median < high)


def test_the_plain_band_is_thin_and_then_opens(curves):
    width = [np.interp((0, 5_000), *curves["b", p]) for p in ("15", "85")]
    first, later = np.subtract(width[1], width[0])
    assert first < 0.1 and later > 2


GOOD = "# of a test\npanel,curve,step,value\na,x,0,0.5\na,x,10,0.6\n"
DAMAGE = {
    "other columns": (GOOD.replace("curve", "name"), "columns"),
    "no number": (GOOD.replace("0.6", "high"), "numbers for step and value"),
    "a value is missing": (GOOD.replace(",0.6", ""), "numbers for step and value"),
    "steps go back": (GOOD.replace("10", "-10"), "ascending steps"),
    "empty": ("", "columns"),
}


def test_a_good_file_is_read(tmp_path):
    path = tmp_path / "figure.csv"
    path.write_text(GOOD, encoding="utf-8")
    assert {name: c.tolist() for name, c in read_paper_figure(path).items()} == {
        ("a", "x"): [[0, 10], [0.5, 0.6]]
    }


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_of_another_form_is_refused(tmp_path, damage):
    text, complaint = DAMAGE[damage]
    path = tmp_path / "figure.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=complaint) as error:
        read_paper_figure(path)
    assert str(path) in str(error.value)
