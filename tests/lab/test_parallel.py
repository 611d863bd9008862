"""Data-parallel training takes the steps of one process with the whole batch."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from bnlib.lab import PaperNetwork, run_workers, step_on_share, train, train_share
from bnlib.layers import BatchNorm, BatchNorm1d


def network():
    return PaperNetwork(BatchNorm1d, widths=(6, 5, 4, 3), std=0.5).double()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(50, 6, generator=generator).double(), torch.randint(3, (50,), generator=generator)


def test_alone_it_takes_the_steps_of_train(data):
    losses = train_share(network(), data, steps=4, batch_size=10)
    history = train(network(), data, data, steps=4, batch_size=10)
    torch.testing.assert_close(losses, history.loss.tolist(), rtol=1e-12, atol=1e-12)


def test_three_workers_with_uneven_shares_have_the_losses_of_one(data):
    alone = train_share(network(), data, steps=6, batch_size=10)
    for losses in run_workers(train_share_of, 3, data):
        torch.testing.assert_close(losses, alone, rtol=1e-12, atol=1e-12)


def train_share_of(data):
    return train_share(network(), data, steps=6, batch_size=10)


def test_a_step_on_two_shares_is_the_step_of_the_whole(data):
    x, dy = data[0], torch.randn_like(data[0])
    norm, whole = BatchNorm(6).double(), BatchNorm(6).double()
    u = x.clone().requires_grad_()
    y = whole(u)
    y.backward(dy)
    shares = run_workers(step_on_share, 2, norm, x, dy)
    for name, of_all in {"y": y.detach(), "dx": u.grad}.items():
        together = torch.cat([share[name] for share in shares])
        torch.testing.assert_close(together, of_all, rtol=1e-12, atol=1e-12)
    for share in shares:
        torch.testing.assert_close(share["running_var"], whole.running_var, rtol=1e-12, atol=1e-12)


def test_no_steps_are_refused(data):
    with pytest.raises(ValueError, match="positive steps"):
        train_share(network(), data, steps=0)


def test_torchrun_on_two_hosts_has_the_losses_of_one_process():
    command = [sys.executable, "-m", "bnlib.lab", "--double", "--steps", "3", "--batch-size", "31"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    with socket.socket() as free:  # two on one machine find each other as two machines do
        free.bind(("127.0.0.1", 0))
        meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free.getsockname()[1]}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    printed = subprocess.check_output(command, text=True, env=environment)
    host = [*torchrun, *meet, *command[1:]]
    hosts = [subprocess.Popen(host, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    try:
        printed += "".join(host.communicate(timeout=300)[0] for host in hosts)
    finally:
        for host in hosts:
            host.terminate()
    assert [host.returncode for host in hosts] == [0, 0]
    alone, together = map(json.loads, printed.splitlines())  # worker 0 speaks for all
    assert (alone["workers"], together["workers"]) == (1, 2)
    torch.testing.assert_close(together["loss"], alone["loss"], rtol=1e-12, atol=1e-12)
