"""Processes that meet, and what is said when one of them does not end well."""

import multiprocessing
import os

import pytest
import torch.distributed as dist

from bnlib.lab import WorkersError, run_workers


def who(greeting):
    return greeting, dist.get_rank(), dist.get_world_size()


def leave():
    if dist.get_rank() == 1:
        os._exit(3)
    return "here"


def test_each_worker_knows_its_place():
    assert run_workers(who, 2, "hello") == [("hello", 0, 2), ("hello", 1, 2)]


def test_one_that_leaves_is_named_and_the_others_are_heard():
    with pytest.raises(WorkersError, match="worker 1: ended with exit code 3") as caught:
        run_workers(leave, 2)
    assert caught.value.results == {0: "here"}
    spawned = multiprocessing.get_context("spawn").Process  # joblib's own processes may still be there
    assert not [p for p in multiprocessing.active_children() if isinstance(p, spawned)]
