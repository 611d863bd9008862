"""Durations that can be compared: measured in turns, in one run."""

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["side_by_side"]


def side_by_side(calls: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, NDArray]:
    """Time several calls in turns, so that whatever else the machine does falls on all of them.

    Parameters
    ----------
    calls : mapping of str to callable
    rounds : int
        How often each is called, after one call that is not counted.

    Returns
    -------
    dict of str to (rounds,)
        Seconds. Compare by ratios: the seconds themselves are this machine's.

    Raises
    ------
    ValueError
        If rounds is not positive.
    """
    if rounds < 1:
        raise ValueError(f"expected at least one round (got {rounds})")
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}
