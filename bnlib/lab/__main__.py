"""Train the paper's network on some workers: ``torchrun --nproc-per-node 2 -m bnlib.lab --steps 100``."""

import argparse
import json
import os

import torch
import torch.distributed as dist

from bnlib.layers import BatchNorm1d

from .data import load_mnist
from .models import PaperNetwork
from .parallel import train_share


def main() -> None:
    """Train, and let worker 0 print the losses as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bnlib.lab", description=__doc__.split(":")[0] + ".")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=60, help="of all workers together (default: 60)")
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of the order of the examples")
    parser.add_argument("--double", action="store_true", help="in float64")
    options = parser.parse_args()

    together = "RANK" in os.environ  # torchrun says who is who
    if together:
        dist.init_process_group("gloo")
    torch.set_num_threads(1)
    dtype = torch.float64 if options.double else torch.float32
    try:
        losses = train_share(
            PaperNetwork(BatchNorm1d, seed=options.seed).to(dtype),
            load_mnist().tensors("train", dtype=dtype),
            steps=options.steps,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            seed=options.seed,
        )
        if not together or dist.get_rank() == 0:
            print(json.dumps({"workers": dist.get_world_size() if together else 1, "loss": losses}))
    finally:
        if together:
            dist.destroy_process_group()


if __name__ == "__main__":
    main()
