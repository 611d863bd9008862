"""What a synchronized batch norm adds to a step, forward and backward, by gloo on one machine.

    python benchmarks/sync.py [--rounds 40] [--out benchmarks/sync.json]

The workers share the cores, so with more workers than cores they also wait for one another's turn: the points
say more of this machine than of a network. Whatever else it does makes a meeting longer, never shorter: the
shortest of all rounds is what is drawn.
"""

import argparse
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from bnlib.lab import run_workers
from bnlib.layers import SyncBatchNorm

CHANNELS = 64, 1024, 16384
WORKERS = 2, 3, 4


def meetings(channels: tuple[int, ...], rounds: int) -> list[list[float]]:
    """Seconds of one meeting forward and one backward, (len(channels), rounds), as this worker sees them."""
    found = []
    for C in channels:
        norm = SyncBatchNorm(C, affine=False, track_running_stats=False)
        x = torch.randn(2, C, requires_grad=True)
        times = []
        for _ in range(rounds + 3):
            dist.barrier()
            start = time.perf_counter()
            mean, var = norm.together(x, dist.group.WORLD)
            (mean + var).sum().backward()
            times.append(time.perf_counter() - start)
        found.append(times[3:])
    return found


def main(arguments=None) -> None:
    """Measure, print and perhaps store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    points = []
    for workers in WORKERS:
        seconds = np.array(run_workers(meetings, workers, CHANNELS, options.rounds)).max(axis=0)
        for C, times in zip(CHANNELS, seconds, strict=True):
            shortest, low, middle, high = np.quantile(times, [0, 0.25, 0.5, 0.75])
            points.append(
                {
                    "workers": workers,
                    "channels": C,
                    "seconds": {"min": shortest, "median": middle, "quartiles": [low, high]},
                }
            )
            print(
                f"{workers} workers, {C:6,} channels: {1e3 * shortest:6.2f} ms, median {1e3 * middle:.2f} ms"
            )
    record = {
        "what": "one synchronization, forward and backward, gloo on one machine",
        "machine": "a shared machine of two cores, busy with other work",
        "cores": os.cpu_count(),
        "rounds": options.rounds,
        "versions": {"torch": str(torch.__version__), "numpy": np.__version__},
        "date": datetime.now(UTC).date().isoformat(),
        "points": points,
    }
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
