"""What every test needs: one thread, and the same numbers on every run."""

import hypothesis
import matplotlib
import pytest
import torch

matplotlib.use("agg")  # a figure needs no window
torch.set_num_threads(1)
hypothesis.settings.register_profile("same every time", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("same every time")


@pytest.fixture(autouse=True)
def _same_random_numbers():
    torch.manual_seed(0)
