"""What the sweep gains over the loop of a tutorial: both measured in turns, in one run.

    python benchmarks/training.py [--rounds 5] [--out benchmarks/training.json]

Everything is per run and pair of steps, one of the plain network and one of the network with batch
normalization. Only ratios can be compared between machines. The images are random, of MNIST's size: a step
takes as long on any images. The rows of two processes need two cores with nothing else to do.
"""

import argparse
import json
import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch read it: one thread a process
os.environ["TQDM_DISABLE"] = "1"

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bnlib.lab import MNIST, PaperNetwork, SmallCNN, side_by_side, train
from bnlib.layers import BatchNorm
from bnlib.sweep import Experiment, grid, run_experiment
from bnlib.sweep.records import write_whole

SEEDS, BATCH_SIZE = 10, 60
IDIOMATIC = "idiomatic loop"
TARGET = 2.5  # times as fast as the idiomatic loop: ten seeds on two cores

# name -> the network by its norm, torch.nn's norm, the setting of the sweep, steps in a call of the sweep
DEEP = {"widths": (784, *[100] * 6, 10), "activation": nn.ReLU}
MODELS = {
    "paper's network": (PaperNetwork, nn.BatchNorm1d, {}, 1000),
    "ReLU, six layers": (
        partial(PaperNetwork, **DEEP),
        nn.BatchNorm1d,
        {"activation": "relu", "hidden_layers": 6},
        500,
    ),
    "small CNN": (SmallCNN, nn.BatchNorm2d, {"network": "SmallCNN"}, 50),
}


def random_digits() -> MNIST:
    """60,000 images to train on; few to test on, so that a look costs nothing beside the steps."""
    rng = np.random.default_rng(0)

    def draw(n):
        images = rng.integers(0, 256, size=(n, 28, 28), dtype=np.uint8)
        return images, rng.integers(0, 10, size=n, dtype=np.uint8)

    return MNIST(*draw(60_000), *draw(60), source="folder")


def idiomatic(network: Callable, norms, train_set, steps: int) -> Callable[[], None]:
    """Pairs of steps as a tutorial takes them: torch.nn's modules, a DataLoader, autograd, SGD."""
    loader = DataLoader(TensorDataset(*train_set), batch_size=BATCH_SIZE, shuffle=True, drop_last=True)
    models = [network(norm).train() for norm in norms]
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in models]
    batches = [endless(loader) for _ in models]

    def call():
        for model, optimizer, own in zip(models, optimizers, batches, strict=True):
            for images, labels in islice(own, steps):
                optimizer.zero_grad()
                F.cross_entropy(model(images), labels).backward()
                optimizer.step()

    return call


def endless(loader: DataLoader) -> Iterator:
    """Epoch after epoch."""
    return chain.from_iterable(repeat(loader))


def visible_loop(network: Callable, train_set, test_set, steps: int) -> Callable[[], None]:
    """The book's `train` on the book's layer."""

    def call():
        for norm in (None, BatchNorm):
            train(network(norm), train_set, test_set, steps=steps, look_every=steps)

    return call


def sweep(mnist: MNIST, shared: dict, steps: int, jobs: int) -> Callable[[], None]:
    """An experiment of ten seeds, plain and with batch normalization, as `python -m bnlib.sweep` runs it."""
    cases = grid(norm=(None, "before"))
    experiment = Experiment("benchmark", "How fast?", 0, cases, (0, steps), seeds=SEEDS, shared=shared)
    return partial(run_experiment, experiment, mnist, jobs=jobs, progress=False)


def measure(rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds per pair of steps and run, (rounds,) of each row."""
    mnist, calls, pairs = random_digits(), {}, {}
    for model, (network, norm, shared, steps) in MODELS.items():
        sets = [mnist.tensors(split, flat=network is not SmallCNN) for split in ("train", "test")]
        alone = max(steps // 5, 10)
        rows = {
            IDIOMATIC: (idiomatic(network, (None, norm), sets[0], alone), alone),
            "the book's train": (visible_loop(network, *sets, alone), alone),
            "ten seeds, one process": (sweep(mnist, shared, steps, 1), SEEDS * steps),
            "ten seeds, two processes": (sweep(mnist, shared, steps, 2), SEEDS * steps),
        }
        calls |= {f"{model}: {row}": call for row, (call, _) in rows.items()}
        pairs |= {f"{model}: {row}": count for row, (_, count) in rows.items()}
    return {row: 1000 * seconds / pairs[row] for row, seconds in side_by_side(calls, rounds).items()}


def summary(values: np.ndarray) -> dict[str, float]:
    """Median and range."""
    return {"median": float(np.median(values)), "min": float(values.min()), "max": float(values.max())}


def results(durations: dict[str, np.ndarray]) -> dict[str, dict]:
    """Of each row its milliseconds, and its gain over its model's idiomatic loop, round by round."""
    return {
        row: {
            "milliseconds": summary(values),
            "times faster than the idiomatic loop": summary(
                durations[f"{row.partition(':')[0]}: {IDIOMATIC}"] / values
            ),
        }
        for row, values in durations.items()
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table, and store it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    arguments = parser.parse_args(argv)
    rounds, out = arguments.rounds, arguments.out
    if rounds < 1:
        parser.error(f"expected at least one round (got {rounds})")
    if out and (out.is_dir() or not os.access(out.parent, os.W_OK)):
        parser.error(f"cannot write the file {out}")

    torch.set_num_threads(1)
    rows = results(measure(rounds))
    print(f"Per run and pair of steps (plain and BN); median and range of {rounds} rounds\n")
    print(f"{'':<44}{'ms':>7}   faster than the idiomatic loop (target of the last rows: {TARGET})")
    for row, (ms, faster) in ((row, values.values()) for row, values in rows.items()):
        ratio = f"{faster['median']:.2f}  ({faster['min']:.2f} to {faster['max']:.2f})"
        print(f"{row:<44}{ms['median']:7.2f}   {ratio}")
    if out:
        versions = {"torch": torch.__version__, "numpy": np.__version__}
        content = {"rounds": rounds, "cores": os.cpu_count(), "versions": versions, "results": rows}
        write_whole(out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
