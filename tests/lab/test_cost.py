import pytest
import torch
from torch import nn

from bnlib.lab.cost import Operation, kept_for_backward, operations
from bnlib.layers import training_batch_norm


def test_an_operation_reads_what_goes_in_and_writes_what_comes_out():
    x, y = torch.ones(4, 8), torch.ones(4, 8)
    assert operations(lambda: torch.exp(x) * y) == [
        Operation("exp", 128, 128),
        Operation("mul", 256, 128),
    ]


def test_an_array_that_goes_in_twice_is_read_once():
    x = torch.ones(8)
    assert operations(lambda: x * x) == [Operation("mul", 32, 32)]


def test_changed_in_place_is_read_and_written():
    x = torch.ones(8)
    assert operations(lambda: x.neg_()) == [Operation("neg_", 32, 32)]


def test_views_and_memory_set_aside_move_nothing():
    x = torch.ones(4, 8)
    assert operations(lambda: (x.reshape(2, 16).T, x[1:], x.detach(), torch.empty(9))) == []
    assert operations(lambda: (x.new_empty(9), torch.empty_like(x))) == []


def test_what_only_lends_its_shape_is_not_read():
    x = torch.ones(4, 8)
    assert operations(lambda: x.new_zeros(2)) == [Operation("new_zeros", 0, 8)]
    assert operations(lambda: torch.ones_like(x)) == [Operation("ones_like", 0, 128)]


def test_of_an_expanded_array_only_what_is_there_is_read():
    x, v = torch.ones(4, 8), torch.ones(8)
    assert operations(lambda: x + v.expand(4, 8)) == [Operation("add", 128 + 32, 128)]


def test_the_backward_pass_is_seen():
    x, dy = torch.ones(8, requires_grad=True), torch.ones(8)
    found = operations(lambda: torch.autograd.grad(x.exp(), x, dy))
    assert found == [Operation("exp", 32, 32), Operation("mul", 64, 32)]


@pytest.mark.parametrize("shape", [(32, 8), (8, 8, 4, 4)])
def test_the_formula_goes_over_its_input_many_times_and_the_fused_operation_shows_five(shape):
    x, dy = torch.randn(shape, requires_grad=True), torch.randn(shape)
    norm = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(8)
    parameters = norm.weight, norm.bias

    def arrays(forward):
        call = operations(lambda: torch.autograd.grad(forward(x), (x, *parameters), dy))
        return [round((o.read + o.written) / (4 * x.numel())) for o in call]

    assert sum(arrays(norm)) == 5  # x, y; x, dy, dx
    assert sum(arrays(lambda x: training_batch_norm(x, *parameters))) > 50


def test_kept_is_what_the_backward_pass_needs():
    x = torch.ones(4, 8, requires_grad=True)
    assert kept_for_backward(lambda: x.exp()) == 128  # its output
    assert kept_for_backward(lambda: x.neg()) == 0
    assert kept_for_backward(lambda: x.sin().sin()) == 256


def test_what_is_kept_twice_or_in_views_counts_once():
    x = torch.ones(4, 8, requires_grad=True)
    assert kept_for_backward(lambda: (x * x, x.T.sin(), x[1:].sin())) == 128


def test_the_nodes_of_a_graph_that_is_gone_lend_no_address_to_the_next():
    x = torch.ones(1000, requires_grad=True)
    assert kept_for_backward(lambda: [x.exp().sum() for _ in range(9)][-1]) == 9 * 4000


def test_a_modules_own_tensors_are_not_counted():
    layer, x = nn.Linear(8, 3), torch.ones(4, 8, requires_grad=True)
    own = 3 * 8 * 4
    assert kept_for_backward(lambda: layer(x)) == 128 + own
    assert kept_for_backward(lambda: layer(x), beside=layer.parameters()) == 128
