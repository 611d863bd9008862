"""The paper's own curves, in numbers, to lay beside the records."""

import csv
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_paper_figure"]

COLUMNS = ["panel", "curve", "step", "value"]


def read_paper_figure(path: str | os.PathLike) -> dict[tuple[str, str], NDArray]:
    """Read the curves of a figure from a CSV file: a header of comments, then panel, curve, step, value.

    Returns
    -------
    dict of (panel, curve) to (2, K)
        Steps, ascending, and the values at them.

    Raises
    ------
    ValueError
        If the columns are others, a value is no number, or the steps of a curve do not ascend.

    References
    ----------
    The stored file: Ioffe & Szegedy 2015, arXiv:1502.03167v3, Figure 1. Panel a has the curves
    "without BN" and "with BN"; b and c have the percentiles "15", "50" and "85".
    """
    path = Path(path)
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    rows = csv.DictReader(lines, strict=True)
    if rows.fieldnames != COLUMNS:
        raise ValueError(f"{path}: expected the columns {COLUMNS} (got {rows.fieldnames})")
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        try:
            point = float(row["step"]), float(row["value"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: expected numbers for step and value (got {row})") from error
        points.setdefault((row["panel"], row["curve"]), []).append(point)
    curves = {name: np.array(of_curve).T for name, of_curve in points.items()}
    for name, (steps, _) in curves.items():
        if np.any(np.diff(steps) <= 0):
            raise ValueError(f"{path}: expected ascending steps in {name}")
    return curves
