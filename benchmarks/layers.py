"""What batch normalization costs: the book's layer beside torch.nn's, and both beside passes over the data.

    python benchmarks/layers.py [--runs 5] [--quick] [--out benchmarks/layers.json]

A ratio is worth something only if both of its parts met the same machine, so within each case the calls take
turns: a block of one, a block of the next, and again. pytest-benchmark and pyperf time one call to its end
and then the next, so the blocks are timed by torch.utils.benchmark, which also sets the threads, warms up
and keeps the garbage collector out. A run goes through all cases, so that five are minutes apart, and their
spread is the machine's. Only ratios can be compared between machines. It needs two cores with nothing else
to do.
"""

import argparse
import json
import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy reads it: its reference has one thread

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from bnlib.lab import SmallCNN, kept_for_backward
from bnlib.layers import BatchNorm1d, BatchNorm2d, fold_pair, inference_batch_norm, training_batch_norm
from bnlib.reference import batch_norm_backward, batch_norm_forward
from bnlib.sweep.records import write_whole

Call = Callable[[], object]

THREADS = 2
BACKEND = "inductor"


class Sizes(NamedTuple):
    """How large everything is.

    Attributes
    ----------
    turns : int
        Of every call, in a run.
    block : float
        Seconds of one turn, at least.
    dense, convolution : list of tuple
        Shapes of the table.
    growth : dict of str to list of tuple
        What grows -> shapes.
    copies : list of tuple
        Of the arrays on which the bandwidth is measured.
    images : tuple
        The input of the convolution that is folded.
    batch_size : int
        Of the small CNN.
    """

    turns: int
    block: float
    dense: list[tuple[int, ...]]
    convolution: list[tuple[int, ...]]
    growth: dict[str, list[tuple[int, ...]]]
    copies: list[tuple[int, ...]]
    images: tuple[int, ...]
    batch_size: int


FULL = Sizes(
    turns=5,
    block=0.02,
    dense=[(60, 100), (256, 1024), (8192, 1024)],
    convolution=[(32, 64, 56, 56), (64, 256, 14, 14)],
    growth={
        "N": [(2**k, 256) for k in range(6, 15, 2)],
        "C": [(1024, 2**k) for k in range(4, 13, 2)],
        "size": [(32, 64, s, s) for s in (4, 8, 16, 32, 64)],
    },
    copies=[(2**k,) for k in range(12, 27, 2)],
    images=(32, 64, 56, 56),
    batch_size=60,
)
QUICK = Sizes(
    turns=1,
    block=0,
    dense=[(6, 3)],
    convolution=[(2, 3, 4, 4)],
    growth={"N": [(4, 3), (8, 3)], "C": [(4, 3)], "size": [(2, 3, 4, 4)]},
    copies=[(64,)],
    images=(2, 3, 4, 4),
    batch_size=10,
)

# What else an input may be, beside contiguous and in float32; the layers stay in float32.
CHANGES = {
    "channels last": partial(Tensor.to, memory_format=torch.channels_last),
    "bfloat16": Tensor.bfloat16,
}

NORMS = {"torch.nn": {2: nn.BatchNorm1d, 4: nn.BatchNorm2d}, "ours": {2: BatchNorm1d, 4: BatchNorm2d}}


class Case(NamedTuple):
    """Calls that are compared.

    Attributes
    ----------
    group : str
    shape : tuple of int
    calls : dict of str to callable
        The first is what the others are divided by.
    goal : float or None
        What "ours" over the first should at most be.
    threads : int or None
        None: as many as torch takes.
    inference : bool
        Whether autograd is off.
    """

    group: str
    shape: tuple[int, ...]
    calls: dict[str, Call]
    goal: float | None = None
    threads: int | None = None
    inference: bool = False


@cache
def drawn(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Values whose mean is not 0 and whose spread is not 1."""
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 3


def norms(shape: tuple[int, ...]) -> dict[str, nn.Module]:
    """The layers for an input of this shape, torch.nn's first."""
    return {name: kinds[len(shape)](shape[1]) for name, kinds in NORMS.items()}


class Plain(nn.Module):
    """The book's formula in elementary operations, without running statistics to move."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize, as in training or as at inference."""
        if self.training:
            return training_batch_norm(x, self.weight, self.bias)
        return inference_batch_norm(x, self.weight, self.bias, self.mean, self.var)


def layers(shape: tuple[int, ...]) -> dict[str, nn.Module]:
    """The layers, and the formula that they compute."""
    return {**norms(shape), "plain": Plain(shape[1])}


def compiled(module: nn.Module) -> nn.Module:
    """For one shape, and with no memory of what was compiled before."""
    return torch.compile(module, backend=BACKEND, dynamic=False, isolate_recompiles=True)


def forward_backward(
    module: nn.Module, shape: tuple[int, ...], change: Callable[[Tensor], Tensor] = Tensor.clone
) -> Call:
    """Output and all gradients; none is added to an older one, which would be a pass of its own."""
    x, dy = change(drawn(shape)).requires_grad_(), change(drawn(shape, seed=1))
    inputs = (x, *module.parameters())
    return lambda: torch.autograd.grad(module(x), inputs, dy)


def forward_backward_numpy(shape: tuple[int, ...]) -> Call:
    """The reference, in float32 as all else."""
    x, dy = drawn(shape).numpy(), drawn(shape, seed=1).numpy()
    gamma, beta = np.ones(shape[1], np.float32), np.zeros(shape[1], np.float32)

    def call():
        _, saved = batch_norm_forward(x, gamma, beta)
        return batch_norm_backward(dy, saved)

    return call


def passes(shape: tuple[int, ...]) -> dict[str, Call]:
    """What one pass takes: so many arrays read, so many written, into memory already there or new."""
    x, z, out = drawn(shape), drawn(shape, seed=1), torch.empty(shape)
    return {
        "read 1": x.sum,
        "read 1, write 1": partial(torch.neg, x, out=out),
        "read 2, write 1": partial(torch.add, x, z, out=out),
        "read 1, write 1 new": partial(torch.neg, x),
        "read 2, write 1 new": partial(torch.add, x, z),
    }


def folding(shape: tuple[int, ...], kernel: int) -> dict[str, Call]:
    """A convolution alone, with a norm after it, and with the norm folded into it."""
    maps = shape[1]
    convolution = nn.Conv2d(maps, maps, kernel, padding=kernel // 2)
    models = {
        "convolution": convolution,
        "and torch.nn": nn.Sequential(convolution, nn.BatchNorm2d(maps).eval()),
        "and ours": nn.Sequential(convolution, BatchNorm2d(maps).eval()),
        "folded": fold_pair(convolution, BatchNorm2d(maps).eval()),
    }
    return {name: partial(model, drawn(shape)) for name, model in models.items()}


def training_step(norm: Callable[[int], nn.Module] | None, batch_size: int) -> Call:
    """One step of SGD of the small CNN."""
    model = SmallCNN(norm)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images = torch.rand(batch_size, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(batch_size) % 10

    def call():
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return call


def cases(sizes: Sizes) -> Iterator[Case]:
    """All that is measured."""
    for shape in sizes.dense + sizes.convolution:
        training = {name: forward_backward(layer, shape) for name, layer in layers(shape).items()}
        yield Case("training", shape, training, goal=2.0 if shape == sizes.dense[0] else 1.3)
        fused = {name: forward_backward(compiled(layer), shape) for name, layer in layers(shape).items()}
        yield Case("training, compiled", shape, fused, goal=1.0 if shape in sizes.convolution else None)

        inference = {name: partial(layer.eval(), drawn(shape)) for name, layer in layers(shape).items()}
        yield Case("inference", shape, inference, goal=1.1, inference=True)

        alone = {"torch.nn": forward_backward(norms(shape)["torch.nn"], shape)}
        alone["ours"] = forward_backward_numpy(shape)
        yield Case("NumPy, one thread", shape, alone, goal=3.0, threads=1)
        yield Case("passes", shape, passes(shape), inference=True)

    changed = {"channels last": sizes.convolution, "bfloat16": (sizes.dense[-1], sizes.convolution[0])}
    for what, shapes in changed.items():
        for shape in shapes:
            calls = {
                name: forward_backward(norm, shape, CHANGES[what]) for name, norm in norms(shape).items()
            }
            yield Case(f"training, {what}", shape, calls)
    for what, shapes in sizes.growth.items():
        for shape in shapes:
            calls = {name: forward_backward(layer, shape) for name, layer in norms(shape).items()}
            yield Case(f"growth with {what}", shape, calls)
    for shape in sizes.copies:
        yield Case("bandwidth", shape, passes(shape), inference=True)
    for kernel in (1, 3):
        calls = folding(sizes.images, kernel)
        yield Case(f"folding, {kernel} × {kernel}", sizes.images, calls, inference=True)
    steps = {"none": None, "torch.nn": nn.BatchNorm2d, "ours": BatchNorm2d}
    calls = {name: training_step(norm, sizes.batch_size) for name, norm in steps.items()}
    yield Case("step of the small CNN", (sizes.batch_size, 1, 28, 28), calls)


def seconds(case: Case, turns: int, block: float) -> dict[str, float]:
    """Of every call the median of its turns."""
    with torch.inference_mode(case.inference):
        timers = {
            name: Timer("call()", globals={"call": call}, num_threads=case.threads or torch.get_num_threads())
            for name, call in case.calls.items()
        }
        numbers = {name: max(1, round(block / timer.timeit(1).mean)) for name, timer in timers.items()}
        found = [{name: t.timeit(numbers[name]).mean for name, t in timers.items()} for _ in range(turns)]
    return {name: float(np.median([turn[name] for turn in found])) for name in timers}


def measure(sizes: Sizes, runs: int) -> list[dict[str, Any]]:
    """A row a case: its seconds, run by run."""
    measured = list(cases(sizes))
    for case in measured:  # compilation is not timed, and must see the threads that it is compiled for
        with torch.inference_mode(case.inference):
            for call in case.calls.values():
                call()
    found = [[seconds(case, sizes.turns, sizes.block) for case in measured] for _ in range(runs)]
    return [
        {
            "group": case.group,
            "shape": case.shape,
            "goal": case.goal,
            "seconds": {name: [float(f"{run[i][name]:.4g}") for run in found] for name in case.calls},
        }
        for i, case in enumerate(measured)
    ]


def kept(sizes: Sizes) -> list[dict[str, Any]]:
    """Bytes that a layer keeps for the backward pass, and how many values its input has."""
    rows = []
    for shape in sizes.dense + sizes.convolution:
        for group, change in {"training": nn.Module.train, "training, compiled": compiled}.items():
            x, found = drawn(shape).clone().requires_grad_(), {}
            for name, layer in layers(shape).items():
                own = [*layer.parameters(), *layer.buffers()]
                found[name] = kept_for_backward(partial(change(layer), x), beside=own)
            rows.append({"group": group, "shape": shape, "values": x.numel(), "bytes": found})
    return rows


def processor() -> str:
    """The model of the CPU, as far as the system tells."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def summary(row: dict[str, Any], name: str = "ours") -> str:
    """Median and range of the ratios of a row, run by run."""
    ratios = ratio(row, name)
    return f"{np.median(ratios):.2f}  ({ratios.min():.2f} to {ratios.max():.2f})"


def ratio(row: dict[str, Any], name: str = "ours") -> np.ndarray:
    """The time of a call over that of its row's first, (runs,)."""
    first, *_ = row["seconds"].values()
    return np.array(row["seconds"][name]) / np.array(first)


def print_table(record: dict[str, Any]) -> None:
    """What has a goal, against its goal; then what the book's chapter begins with."""
    print(f"Time over torch.nn's; median and range of {record['runs']} runs\n")
    for row in record["rows"]:
        if row["goal"] or row["group"].startswith("training, "):
            line = f"{row['group']:<24}{row['shape']!s:<19}{summary(row):<24}"
            print(line, f"goal {row['goal']:g}" if row["goal"] else "")
    print("\nTime over that of the same without a norm\n")
    for row in record["rows"]:
        if row["group"].startswith(("folding", "step")):
            for name in list(row["seconds"])[1:]:
                print(f"{row['group']:<23}{name:<16}{summary(row, name)}")
    print("\nBytes kept for the backward pass, per value of the input\n")
    for row in record["kept"]:
        each = ", ".join(f"{name} {n / row['values']:.2f}" for name, n in row["bytes"].items())
        print(f"{row['group']:<20}{row['shape']!s:<19}{each}")


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table, and store it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small shapes, short turns: does it run?")
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    arguments = parser.parse_args(argv)
    runs, out = arguments.runs, arguments.out
    if runs < 1:
        parser.error(f"expected at least one run (got {runs})")
    if out and (out.is_dir() or not os.access(out.parent, os.W_OK)):
        parser.error(f"cannot write the file {out}")

    sizes = QUICK if arguments.quick else FULL
    torch.set_num_threads(THREADS)
    start = time.perf_counter()
    record = {
        "quick": arguments.quick,
        "runs": runs,
        "threads": THREADS,
        "cores": os.cpu_count(),
        "processor": processor(),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "date": date.today().isoformat(),
        "kept": kept(sizes),
        "rows": measure(sizes, runs),
    }
    record["duration_s"] = round(time.perf_counter() - start)
    print_table(record)
    if out:
        write_whole(out, as_lines(record))


def as_lines(record: dict[str, Any]) -> str:
    """JSON with a line for each row."""
    lines = {key: json.dumps(value) for key, value in record.items()}
    for key in ("kept", "rows"):
        lines[key] = "[\n  " + ",\n  ".join(map(json.dumps, record[key])) + "\n ]"
    return "{\n" + ",\n".join(f' "{key}": {value}' for key, value in lines.items()) + "\n}\n"


if __name__ == "__main__":
    main()
