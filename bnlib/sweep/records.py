"""The results of long runs: small JSON files that say how they were made, written whole or not at all."""

import itertools
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

__all__ = ["Data", "Processor", "Record", "Series", "read_record", "write_record"]


class Series(msgspec.Struct, frozen=True, forbid_unknown_fields=True, eq=False):
    """What one run left behind.

    Attributes
    ----------
    setting : dict
        Those settings that the experiment varies.
    seed : int
    values : dict of str to (T, ...)
        At every look; NaN where a run had diverged.
    """

    setting: dict[str, Any]
    seed: int
    values: Annotated[dict[str, np.ndarray], Meta(min_length=1)]


class Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which images: how many for training and for test, and the SHA-256 sum of images and labels."""

    name: str
    train: int
    test: int
    sha256: str


class Processor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the runs were made on."""

    model: str
    cores: int
    threads: int


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, eq=False):
    """The result of an experiment, and all that is needed to repeat it.

    Attributes
    ----------
    settings : dict
        Those that all runs share; under "varied", the values of those that they do not.
    steps : list of int
        How many had been taken at each of the T looks.
    date : str
        Of the day on which the last step was taken.
    duration_s : float
        In seconds.
    series : list of Series
    """

    schema: Literal[1] = 1
    experiment: str
    question: str
    settings: dict[str, Any]
    seeds: list[int]
    steps: list[int]
    data: Data
    versions: dict[str, str]
    date: str
    duration_s: float
    processor: Processor
    series: Annotated[list[Series], Meta(min_length=1)]

    def __post_init__(self) -> None:
        if not self.steps or self.steps != sorted(set(self.steps)):
            raise ValueError(f"expected steps in ascending order (got {self.steps})")
        if not isinstance(self.settings.get("varied"), dict):
            raise ValueError('expected settings that say what is "varied"')
        for run in self.series:
            if run.seed not in self.seeds:
                raise ValueError(f"expected one of the seeds {self.seeds} (got {run.seed})")
            for name, values in run.values.items():
                if len(values) != len(self.steps):
                    raise ValueError(f"expected {name} at {len(self.steps)} looks (got {len(values)})")

    def __repr__(self) -> str:
        return f"{self.experiment}: {len(self.series)} runs of {self.steps[-1]:,} steps, {self.date}"

    @property
    def varied(self) -> dict[str, list]:
        """The values of the settings that are varied."""
        return self.settings["varied"]

    def stack(self, name: str, **setting: object) -> NDArray:
        """One value of all the runs that have a setting, seed by seed, at every look.

        Parameters
        ----------
        name : str
            Of the value, such as "accuracy".
        **setting
            Of those that the experiment varies, as many as it takes to name one; a `seed` takes that alone.

        Returns
        -------
        (seeds, T, ...)

        Raises
        ------
        KeyError
            If no run has this setting and this value.
        ValueError
            If runs of several settings do.
        """
        found = [
            run
            for run in self.series
            if name in run.values and setting.items() <= {**run.setting, "seed": run.seed}.items()
        ]
        if not found:
            raise KeyError(f"no {name} of {setting} in the record of {self.experiment}")
        open_ = [key for key in self.varied if len({run.setting.get(key) for run in found}) > 1]
        if open_:
            raise ValueError(f"expected one setting of {self.experiment} (got several of {', '.join(open_)})")
        return np.stack([run.values[name] for run in found])

    def at(self, step: int, name: str, over: str | Sequence[str] = (), **setting: object) -> NDArray:
        """One value after so many steps, for every value of one or more settings.

        Parameters
        ----------
        step : int
            One of the record's.
        name : str
            Of the value.
        over : str or sequence of str
            The settings to go over, in the order of `varied`.
        **setting
            As in `stack`.

        Returns
        -------
        (seeds, ...)
            Behind the seeds an axis for each setting of `over`, then the value's own.

        Raises
        ------
        ValueError
            If there was no look after this step; and as in `stack`.
        """
        if step not in self.steps:
            raise ValueError(f"expected a step at which {self.experiment} was looked at (got {step})")
        names = [over] if isinstance(over, str) else list(over)
        axes = [self.varied[key] for key in names]
        cells = [
            self.stack(name, **setting, **dict(zip(names, values, strict=True)))[:, self.steps.index(step)]
            for values in itertools.product(*axes)
        ]
        stacked = np.stack(cells, axis=1)  # (seeds, cells, ...)
        return stacked.reshape(len(stacked), *map(len, axes), *stacked.shape[2:])

    def final(self, name: str, over: str | Sequence[str] = (), **setting: object) -> NDArray:
        """As `at`, at the end of the runs."""
        return self.at(self.steps[-1], name, over, **setting)

    def chosen(self, **arm: object) -> dict[str, Any]:
        """The settings that an arm of a tuned comparison gets: the best on its held-out images.

        Of the cells that were run with every seed, the one with the highest mean accuracy at the end.

        Parameters
        ----------
        **arm
            Of the settings that are varied and not tuned, as many as it takes to name one arm.

        Raises
        ------
        KeyError
            If nothing was tuned, or there is no such arm.
        ValueError
            If there are several.
        """
        tuned = self.settings.get("tuned", [])
        runs = [run for run in self.series if tuned and arm.items() <= run.setting.items()]
        if not runs:
            raise KeyError(f"no arm {arm} that was tuned in the record of {self.experiment}")
        others = self.varied.keys() - {*tuned}
        open_ = [key for key in sorted(others) if len({run.setting[key] for run in runs}) > 1]
        if open_:
            raise ValueError(f"expected one arm of {self.experiment} (got several of {', '.join(open_)})")
        held_out: dict[tuple, list[float]] = {}
        for run in runs:
            cell = tuple(run.setting[name] for name in tuned)
            held_out.setdefault(cell, []).append(run.values["accuracy_validation"][-1])
        whole = {cell: np.mean(found) for cell, found in held_out.items() if len(found) == len(self.seeds)}
        return dict(zip(tuned, max(whole, key=whole.__getitem__), strict=True))

    def steps_to(self, level: float, **setting: object) -> NDArray:
        """The first look at which each seed's accuracy was at or above a level, (seeds,); NaN if none was."""
        reached = self.stack("accuracy", **setting) >= level  # (seeds, T)
        steps = np.array(self.steps)[reached.argmax(axis=1)]
        return np.where(reached.any(axis=1), steps, np.nan)


def read_record(path: str | os.PathLike) -> Record:
    """Read a record, and refuse whatever is not one.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is half-written, foreign, or not as `Record` says.
    """
    path = Path(path)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record, dec_hook=_array)
    except ValueError as error:  # msgspec's own are among them
        raise ValueError(f"{path}: half-written, or not a record ({error})") from error


def write_record(path: str | os.PathLike, record: Record) -> None:
    """Write a record as one line for each run, whole or not at all.

    Accuracies are rounded to 4 decimals, all other values to 4 significant digits; what is not finite
    becomes null, and NaN when it is read.

    Raises
    ------
    ValueError
        If the file that is there is half-written, foreign, or a record of another experiment.
    """
    path = Path(path)
    if path.exists() and (other := read_record(path).experiment) != record.experiment:
        raise ValueError(f"{path}: expected a record of {record.experiment} (got one of {other})")
    head = {name: getattr(record, name) for name in record.__struct_fields__ if name != "series"}
    rounded = [
        Series(run.setting, run.seed, {name: _rounded(name, v) for name, v in run.values.items()})
        for run in record.series
    ]
    runs = ",\n".join(msgspec.json.encode(run).decode() for run in rounded)
    start = json.dumps(msgspec.to_builtins(head), indent=1, allow_nan=False).removesuffix("\n}")
    write_whole(path, f'{start},\n "series": [\n{runs}\n]\n}}\n')


def write_whole(path: Path, text: str) -> None:
    """Write a temporary file beside `path`, then rename it: no one sees half a file."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, 0o644)  # mkstemp lets no one else read it
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _rounded(name: str, values: NDArray) -> object:
    """Nested lists of rounded numbers; JSON knows neither NaN nor infinity, so they are None."""
    digits = 4

    def number(x: float) -> float | None:
        if not np.isfinite(x):
            return None
        return round(x, digits) if name.startswith("accuracy") else float(f"{x:.{digits}g}")

    numbers = np.vectorize(number, otypes=[object])
    return numbers(np.asarray(values, dtype=float)).tolist()


def _array(kind: type, values: object) -> NDArray:
    """Numbers in lists of one length, as msgspec hands them over; null becomes NaN."""
    array = np.array(values, dtype=object)
    if array.ndim < 1 or not all(x is None or type(x) in (int, float) for x in array.flat):
        raise ValueError(f"expected numbers in lists of one length (got {str(values)[:60]})")
    return array.astype(float)
