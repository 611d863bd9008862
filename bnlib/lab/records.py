"""The results of long runs: small JSON files that say how they were made, written whole or not at all."""

import json
import math
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCHEMA", "Record", "Series", "read_partial", "read_record", "write_partial", "write_record"]

#: The version of the format. A file of another version is refused.
SCHEMA = 1


class Series(NamedTuple):
    """What one run left behind.

    Attributes
    ----------
    setting : dict
        Those settings that the experiment varies.
    seed : int
    values : dict of str to (T, ...)
        At every look; NaN where a run had diverged.
    """

    setting: dict
    seed: int
    values: dict[str, NDArray]


@dataclass(frozen=True, eq=False, repr=False)
class Record:
    """The result of an experiment, and all that is needed to repeat it.

    Attributes
    ----------
    experiment, question : str
    settings : dict
        Those that all runs share; under "varied", the values of those that they do not.
    seeds, steps : list of int
        `steps` holds how many had been taken at each of the T looks.
    data : dict
        name, train and test (how many images), sha256 (of the images and labels).
    versions : dict of str to str
    date : str
        Of the day on which the last step was taken.
    duration_s : float
        Of the runs, in seconds, also when they were taken up again.
    processor : dict
        model, cores, threads.
    series : list of Series
    """

    experiment: str
    question: str
    settings: dict
    seeds: list[int]
    steps: list[int]
    data: dict
    versions: dict[str, str]
    date: str
    duration_s: float
    processor: dict
    series: list[Series]

    def __repr__(self) -> str:
        return f"{self.experiment}: {len(self.series)} runs of {self.steps[-1]:,} steps, {self.date}"

    def stack(self, name: str, **setting: object) -> NDArray:
        """One value of all runs that have a setting, seed by seed.

        Parameters
        ----------
        name : str
            Of the value, such as "accuracy".
        **setting
            Settings that the experiment varies. Those left out may be any: runs then come in the order of
            the record.

        Returns
        -------
        (runs, T, ...)

        Raises
        ------
        KeyError
            If no run has this setting and this value.
        """
        found = [
            run.values[name]
            for run in self.series
            if name in run.values and setting.items() <= {**run.setting, "seed": run.seed}.items()
        ]
        if not found:
            raise KeyError(f"no {name} of {setting} in the record of {self.experiment}")
        return np.stack(found)


_FIELDS = {
    "experiment": str,
    "question": str,
    "settings": dict,
    "seeds": list,
    "steps": list,
    "data": dict,
    "versions": dict,
    "date": str,
    "duration_s": (int, float),
    "processor": dict,
    "series": list,
}
_PARTS = {
    "data": {"name": str, "train": int, "test": int, "sha256": str},
    "processor": {"model": str, "cores": int, "threads": int},
}


def read_record(path: str | os.PathLike) -> Record:
    """Read a record, and refuse whatever is not one.

    Parameters
    ----------
    path : path

    Returns
    -------
    Record

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is half-written, foreign, or not as the schema says.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except ValueError as error:  # that of JSON, or of the encoding
        raise ValueError(f"{path}: half-written or foreign, expected JSON ({error})") from error
    try:
        return _record(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_record(path: str | os.PathLike, record: Record) -> None:
    """Write a record as one line for each run, whole or not at all.

    Parameters
    ----------
    path : path
        May hold an older record of the same experiment, and nothing else.
    record : Record
        Accuracies are rounded to 4 decimals, all other values to 4 significant digits.

    Raises
    ------
    ValueError
        If the file that is there is half-written, foreign, or a record of another experiment.
    """
    path = Path(path)
    if path.exists() and (other := read_record(path).experiment) != record.experiment:
        raise ValueError(f"{path}: expected a record of {record.experiment} (got one of {other})")
    content = {"schema": SCHEMA, **asdict(record)}
    content["series"] = [
        {
            "setting": run.setting,
            "seed": run.seed,
            "values": {name: _rounded(name, value) for name, value in run.values.items()},
        }
        for run in record.series
    ]
    _record(content)  # what could not be read is not written
    lines = ",\n".join(
        json.dumps(run, separators=(",", ":"), allow_nan=False) for run in content.pop("series")
    )
    head = json.dumps(content, indent=1, allow_nan=False).removesuffix("\n}")
    text = f'{head},\n "series": [\n{lines}\n]\n}}\n'
    write_whole(path, lambda file: file.write(text.encode()))


def read_partial(path: str | os.PathLike) -> tuple[str, dict[str, NDArray]]:
    """Read how far a run came before it was stopped.

    Parameters
    ----------
    path : path

    Returns
    -------
    fingerprint : str
        Of the settings of the run.
    arrays : dict of str to ndarray

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is half-written or foreign.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            arrays = dict(np.load(file, allow_pickle=False))
            return str(arrays.pop("fingerprint")), arrays
        except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError) as error:
            # a file of a single array has no names: TypeError
            raise ValueError(
                f"{path}: half-written or foreign, expected the state of a stopped run"
            ) from error


def write_partial(path: str | os.PathLike, fingerprint: str, arrays: Mapping[str, NDArray]) -> None:
    """Write how far a run came, whole or not at all.

    Parameters
    ----------
    path : path
    fingerprint : str
        Of the settings of the run.
    arrays : mapping of str to ndarray
        Anything but "fingerprint".
    """
    write_whole(Path(path), lambda file: np.savez(file, fingerprint=np.array(fingerprint), **arrays))


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a temporary file beside `path`, then rename it: no one sees half a file."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp lets no one else read it
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            error.filename = str(path)  # a full disk does not say which file it was
        raise


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number to JSON")


def _rounded(name: str, values: NDArray) -> object:
    """Nested lists; JSON knows no NaN, so it is null."""

    def number(x: float) -> float | None:
        if not math.isfinite(x):
            return None
        return round(x, 4) if name.startswith("accuracy") else float(f"{x:.4g}")

    def nested(x: object) -> object:
        return [nested(y) for y in x] if isinstance(x, list) else number(x)

    return nested(np.asarray(values, dtype=float).tolist())


def _check(ok: bool, expected: str, found: object) -> None:
    if not ok:
        text = repr(found)
        raise ValueError(f"expected {expected} (got {text if len(text) < 60 else text[:57] + '...'})")


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)  # a bool is an int to Python


def _integers(values: list, name: str) -> None:
    _check(bool(values) and all(_is(v, int) for v in values), f"{name} to be integers", values)


def _record(content: object) -> Record:
    """A record from what JSON gave, checked field by field."""
    _check(isinstance(content, dict) and "schema" in content, "a record with a schema", content)
    _check(content["schema"] == SCHEMA, f"schema {SCHEMA}", content["schema"])
    fields = {name: value for name, value in content.items() if name != "schema"}
    _check(fields.keys() == _FIELDS.keys(), f"the fields {', '.join(_FIELDS)}", ", ".join(fields))
    for name, kind in _FIELDS.items():
        _check(_is(fields[name], kind), f"{name} of another type", fields[name])
    for name, parts in _PARTS.items():
        found = fields[name]
        good = found.keys() == parts.keys() and all(_is(found[part], kind) for part, kind in parts.items())
        _check(good, f"{name} to have {', '.join(parts)}", found)
    for name in ("seeds", "steps"):
        _integers(fields[name], name)
    steps, seeds = fields["steps"], fields["seeds"]
    _check(all(a < b for a, b in zip(steps, steps[1:], strict=False)), "steps in ascending order", steps)
    _check(bool(fields["series"]), "at least one run", fields["series"])
    return Record(**{**fields, "series": [_series(run, len(steps), seeds) for run in fields["series"]]})


def _series(run: object, looks: int, seeds: list[int]) -> Series:
    names = set(Series._fields)
    _check(isinstance(run, dict) and run.keys() == names, "a run with setting, seed and values", run)
    _check(isinstance(run["setting"], dict), "a setting by name", run["setting"])
    _check(_is(run["seed"], int) and run["seed"] in seeds, f"one of the seeds {seeds}", run["seed"])
    _check(isinstance(run["values"], dict) and bool(run["values"]), "values by name", run["values"])
    return Series(run["setting"], run["seed"], {k: _array(k, v, looks) for k, v in run["values"].items()})


def _array(name: str, values: object, looks: int) -> NDArray:
    def numbers(value: object) -> bool:
        return (
            all(map(numbers, value)) if isinstance(value, list) else value is None or _is(value, (int, float))
        )

    _check(isinstance(values, list) and numbers(values), f"{name} to be lists of numbers", values)
    _check(len(values) == looks, f"{name} at {looks} looks", len(values))
    try:
        return np.array(values, dtype=float)  # None becomes NaN
    except ValueError as error:
        raise ValueError(f"expected {name} to be as long at every look") from error
