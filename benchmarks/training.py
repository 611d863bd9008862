"""What training many runs together gains: every way of taking a step, measured in turns in one run.

    python benchmarks/training.py [--rounds 5] [--out benchmarks/training.json]

Everything is per pair of steps, one of the plain network and one of the network with batch normalization, and
per run. Only ratios can be compared between machines. The images are random, of MNIST's size: a step takes as
long on any images. The row of two processes needs two cores with nothing else to do.
"""

import json
import multiprocessing
import os
import signal

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch read it: one thread a process
os.environ["TQDM_DISABLE"] = "1"

from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bnlib.lab import PaperNetwork, Run, Shape, Together, minibatches, side_by_side, train
from bnlib.lab.__main__ import OneLineParser, up_to
from bnlib.lab.records import write_whole
from bnlib.lab.together import batches_together
from bnlib.layers import BatchNorm1d

WIDTHS = (784, 100, 100, 100, 10)
BATCH_SIZE, EXAMPLES, SEEDS = 60, 60_000, 10
STEPS = 100  # of each network in one call of a single run
STEPS_TOGETHER = 20  # the same of ten runs

IDIOMATIC = "idiomatic loop"
SINGLE, SWEEP, SPLIT = "together, one run", "together, ten seeds", "together, ten seeds, two processes"
TARGETS = {SINGLE: 1.5, SPLIT: 2.5}  # on two cores


def random_digits():
    """Images (60000, 784) in [0, 1] and labels (60000,)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(EXAMPLES, WIDTHS[0], generator=generator)
    return images, torch.randint(WIDTHS[-1], (EXAMPLES,), generator=generator)


def idiomatic(data):
    """Return 100 pairs of steps as a tutorial takes them: torch.nn's modules, a DataLoader, autograd, SGD."""
    loader = DataLoader(TensorDataset(*data), batch_size=BATCH_SIZE, shuffle=True, drop_last=True)
    return partial(autograd_steps, [(loop(norm), endless(loader)) for norm in (None, nn.BatchNorm1d)])


def indexed(data):
    """Return the same, but a mini-batch is taken out of the tensors by its indices."""
    images, labels = data

    def batches():
        for batch in minibatches(EXAMPLES, BATCH_SIZE, torch.Generator().manual_seed(0)):
            yield images[batch], labels[batch]

    return partial(autograd_steps, [(loop(norm), batches()) for norm in (None, nn.BatchNorm1d)])


def endless(loader):
    """Epoch after epoch."""
    return chain.from_iterable(repeat(loader))


def loop(norm):
    """Give one step of autograd and SGD on a new network, as a function of images and labels."""
    model = PaperNetwork(norm)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def autograd_steps(networks):
    """Take 100 steps of each network."""
    for step, batches in networks:
        for x, y in islice(batches, STEPS):
            step(x, y)


def visible_loop(data):
    """Return the book's own loop, with the book's own layer and one look at two test images per call."""
    models = [PaperNetwork(norm) for norm in (None, BatchNorm1d)]
    few = tuple(part[:2] for part in data)

    def steps():
        for model in models:
            train(model, data, few, steps=STEPS, look_every=STEPS)

    return steps


def together(data, seeds, steps):
    """Return `steps` pairs of steps of a run per seed."""
    networks = [
        (
            Together(Shape(WIDTHS, norm=norm, batch_size=BATCH_SIZE), [Run(seed=seed) for seed in seeds]),
            batches_together(seeds, *data, BATCH_SIZE),
        )
        for norm in (None, "before")
    ]

    def take():
        for network, batches in networks:
            for x, y in islice(batches, steps):
                network.step(x, y)

    return take


def worker(connection, seeds):
    """Take steps whenever the other end says so, and tell it when they are taken."""
    torch.set_num_threads(1)
    take = together(random_digits(), seeds, STEPS_TOGETHER)
    connection.send("ready")
    while connection.recv() == "go":
        take()
        connection.send("done")


class TwoProcesses:
    """Ten runs as twice five, each in a process of its own, so that each has a core."""

    def __enter__(self):
        context = multiprocessing.get_context("spawn")
        ours_to_handle = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the children inherit to ignore Ctrl-C
        self.connections, self.processes = [], []
        for seeds in (range(SEEDS // 2), range(SEEDS // 2, SEEDS)):
            ours, theirs = context.Pipe()
            self.processes.append(context.Process(target=worker, args=(theirs, list(seeds)), daemon=True))
            self.connections.append(ours)
            self.processes[-1].start()
        signal.signal(signal.SIGINT, ours_to_handle)
        for connection in self.connections:
            connection.recv()
        return self

    def take(self):
        """Let both take their steps, and wait for both."""
        for connection in self.connections:
            connection.send("go")
        for connection in self.connections:
            connection.recv()

    def __exit__(self, *_):
        for connection, process in zip(self.connections, self.processes, strict=True):
            connection.send("stop")
            process.join()


def products(multiply, draw, runs, steps):
    """Return the matrix products of `steps` pairs of steps and nothing else, in NumPy or in torch.

    Per layer: x W forward, x^T dz for its weights and, except in the first, dz W^T for its input.
    """
    calls = []
    for k, (n_in, n_out) in enumerate(zip(WIDTHS, WIDTHS[1:], strict=False)):
        x, W, dz = draw((runs, BATCH_SIZE, n_in)), draw((runs, n_in, n_out)), draw((runs, BATCH_SIZE, n_out))
        triples = [(x, W, dz), (x.mT, dz, W)] + ([(dz, W.mT, x)] if k else [])
        calls += [partial(multiply, a, b, out=draw(c.shape)) for a, b, c in triples]

    def take():
        for _ in range(2 * steps):
            for call in calls:
                call()

    return take


def measure(rounds):
    """Milliseconds per pair of steps and run, (rounds,) by name."""
    data = random_digits()
    rng = np.random.default_rng(0)
    numpy_products = partial(products, np.matmul, partial(rng.random, dtype=np.float32))
    torch_products = partial(products, torch.bmm, torch.rand)
    seeds = list(range(SEEDS))
    with TwoProcesses() as processes:
        calls = {  # name: (call, pairs of steps times runs in a call)
            IDIOMATIC: (idiomatic(data), STEPS),
            "tensors indexed, no loader": (indexed(data), STEPS),
            "the book's train and BatchNorm1d": (visible_loop(data), STEPS),
            SINGLE: (together(data, seeds[:1], STEPS), STEPS),
            SWEEP: (together(data, seeds, STEPS_TOGETHER), STEPS_TOGETHER * SEEDS),
            SPLIT: (processes.take, STEPS_TOGETHER * SEEDS),
            "products alone, NumPy, one run": (numpy_products(1, STEPS), STEPS),
            "products alone, torch, one run": (torch_products(1, STEPS), STEPS),
            "products alone, NumPy, ten runs": (
                numpy_products(SEEDS, STEPS_TOGETHER),
                STEPS_TOGETHER * SEEDS,
            ),
            "products alone, torch, ten runs": (
                torch_products(SEEDS, STEPS_TOGETHER),
                STEPS_TOGETHER * SEEDS,
            ),
        }
        seconds = side_by_side({name: call for name, (call, _) in calls.items()}, rounds)
    return {name: 1000 * seconds[name] / count for name, (_, count) in calls.items()}


def summary(values):
    """Median and range."""
    return {"median": float(np.median(values)), "min": float(values.min()), "max": float(values.max())}


def main():
    """Measure, print the table, and store it if asked; what cannot be done is refused before, in one line."""
    parser = OneLineParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=up_to(1000), default=5)
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    arguments = parser.parse_args()
    out = arguments.out
    if out and (out.is_dir() or not os.access(out.parent, os.W_OK)):
        parser.error(f"cannot write the file {out}")
    try:
        report(arguments.rounds, out)
    except OSError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.error("stopped; nothing was written")


def report(rounds, out):
    """Print the table, and write it to a file if one is named."""
    torch.set_num_threads(1)
    durations = measure(rounds)
    floor = np.minimum.reduce([values for name, values in durations.items() if name.startswith("products")])
    rows = {
        name: {
            "milliseconds": summary(values),
            "times faster than the idiomatic loop": summary(durations[IDIOMATIC] / values),
            "times the fastest products alone": summary(values / floor),
            "target": TARGETS.get(name),
        }
        for name, values in durations.items()
    }

    print(f"Per pair of steps (plain and BN) and run; median and range of {rounds} rounds\n")
    print(f"{'':<36}{'ms':>6}   {'faster than idiomatic':<26}{'over the floor':<22}target")
    for name, row in rows.items():
        ms, faster, over, target = row.values()
        ratio = f"{faster['median']:.2f}  ({faster['min']:.2f} to {faster['max']:.2f})"
        above = f"{over['median']:.2f}  ({over['min']:.2f} to {over['max']:.2f})"
        met = "" if target is None else f"{target}: {'met' if faster['median'] >= target else 'missed'}"
        print(f"{name:<36}{ms['median']:6.2f}   {ratio:<26}{above:<22}{met}")

    if out:
        result = {
            "rounds": rounds,
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
            "cores": os.cpu_count(),
            "threads per process": torch.get_num_threads(),
            "results": rows,
        }
        text = json.dumps(result, indent=1) + "\n"
        write_whole(out, lambda file: file.write(text.encode()))


if __name__ == "__main__":
    main()
