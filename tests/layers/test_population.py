import copy
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bnlib import reference
from bnlib.lab.models import PaperNetwork, SmallCNN
from bnlib.layers import (
    BatchNorm,
    BatchRenorm,
    FrozenBatchNorm,
    GhostBatchNorm,
    MaskedBatchNorm,
    SkippingBatchNorm,
    algorithm2,
    batch_statistics,
    pooled,
    recompute_statistics,
)
from bnlib.reference import Statistics


def batch_stats(x):
    """By torch's own mean and variance."""
    values = x.transpose(0, 1).flatten(1)
    return Statistics(values.mean(dim=1), values.var(dim=1, correction=0), values.shape[1])


@pytest.fixture
def model():
    """Two norms, ours and torch.nn's, that have seen something; in eval mode but for one norm."""
    layers = nn.Linear(5, 4), BatchNorm(4), nn.Sigmoid(), nn.Linear(4, 3), nn.BatchNorm1d(3)
    model = nn.Sequential(*layers, nn.Dropout(0.5)).double()
    model(torch.randn(7, 5, dtype=torch.float64))
    model.eval()
    model[1].train()
    return model


def drawn(generator, sizes):
    return [3 + 2 * torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in sizes]


@pytest.fixture
def batches(generator):
    return drawn(generator, (8, 8, 8))


@pytest.fixture
def ragged(generator):
    return drawn(generator, (9, 2, 5))


assert_close = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-12)


def assert_population(norm, x):
    """The running statistics are the mean and the biased variance of all of x."""
    whole = batch_stats(x)
    assert_close(norm.running_mean, whole.mean)
    assert_close(norm.running_var, whole.var)


def test_algorithm_2_averages_the_means_and_the_unbiased_variances(new_batch, agree):
    batches = [new_batch() for _ in range(3)]
    mean, var = algorithm2([batch_stats(b) for b in batches])
    values = [b.transpose(0, 1).flatten(1) for b in batches]
    agree(mean, sum(v.mean(dim=1) for v in values) / 3)
    agree(var, sum(v.var(dim=1, correction=1) for v in values) / 3)


@pytest.mark.parametrize("sizes", [(8, 7), (1, 1)])
def test_algorithm_2_refuses_batches_of_other_sizes_or_of_one(generator, sizes):
    with pytest.raises(ValueError, match="batches of one size m > 1"):
        algorithm2([batch_stats(torch.randn(n, 3, generator=generator)) for n in sizes])


@pytest.mark.parametrize("combine", [algorithm2, pooled])
def test_a_population_without_a_batch_is_refused(combine):
    with pytest.raises(ValueError, match=r"the statistics of at least one batch \(got none\)"):
        combine(iter([]))


def test_pooled_statistics_are_those_of_all_values_with_ragged_batches(new_batch, agree):
    batches = [new_batch(), new_batch()[:1] - 4, new_batch() * 2]
    mean, var = pooled([batch_stats(b) for b in batches])
    whole = batch_stats(torch.cat(batches))
    agree(mean, whole.mean)
    agree(var, whole.var)


def test_pooling_survives_a_large_mean_in_float32(generator):
    batches = [1e4 + torch.randn(n, 3, generator=generator) for n in (300, 200, 500)]
    _, var = pooled([batch_stats(b) for b in batches])
    exact = torch.cat(batches).double().var(dim=0, correction=0)
    torch.testing.assert_close(var.double(), exact, rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(algorithm2, reference.algorithm2), (pooled, reference.pooled)],
)
def test_torch_and_numpy_agree(new_batch, agree, ours, theirs):
    batches = [new_batch() for _ in range(3)]
    by_numpy = theirs(reference.batch_statistics(b.numpy()) for b in batches)
    by_torch = ours(batch_statistics(b) for b in batches)
    assert type(by_torch) is type(by_numpy) is reference.Population
    for a, b in zip(by_torch, by_numpy, strict=True):
        agree(a, torch.from_numpy(b))


def test_the_first_norm_gets_the_statistics_of_all_its_inputs(model, ragged):
    recompute_statistics(model, ragged)
    assert_population(model[1], model[0](torch.cat(ragged)))


@pytest.mark.parametrize("mode", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("combine", [pooled, algorithm2])
def test_later_norms_see_inputs_normalized_batch_by_batch(model, batches, combine, mode):
    model[1].train(mode)

    def normalized(u):
        mean, var = u.mean(dim=0), u.var(dim=0, correction=0)
        return model[1].weight * (u - mean) / torch.sqrt(var + model[1].eps) + model[1].bias

    expected = combine([batch_stats(model[3](torch.sigmoid(normalized(model[0](x))))) for x in batches])
    recompute_statistics(model, batches, combine)
    assert_close(model[4].running_mean, expected[0])
    assert_close(model[4].running_var, expected[1])


def test_pooling_is_what_happens_unless_said(model, batches, same_state):
    twin = copy.deepcopy(model)
    same_state(recompute_statistics(model, batches), recompute_statistics(twin, batches, pooled))


def test_algorithm_2_over_a_model_is_momentum_none_over_it(model, batches):
    # torch.nn's plain moving average keeps the same means and unbiased variances
    twin = copy.deepcopy(model)
    for norm in (twin[1], twin[4]):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for batch in batches:
        twin(batch)
    recompute_statistics(model, batches, algorithm2)
    for i in (1, 4):
        assert_close(model[i].running_mean, twin[i].running_mean)
        assert_close(model[i].running_var, twin[i].running_var)


def test_a_convolutions_statistics_pool_the_positions(generator):
    model = SmallCNN(BatchNorm).double()
    images = torch.rand(6, 1, 28, 28, generator=generator, dtype=torch.float64)
    recompute_statistics(model, images.split(2))
    u = model.hidden[0].linear(images).detach()
    assert_population(model.hidden[0].norm, u)
    recompute_statistics(model, [images], algorithm2)
    assert_close(model.hidden[0].norm.running_var, u.var(dim=(0, 2, 3), correction=1))


def test_a_data_loader_will_do(model, batches, same_state):
    x = torch.cat(batches)
    twin = copy.deepcopy(model)
    recompute_statistics(model, DataLoader(TensorDataset(x, torch.zeros(len(x))), batch_size=5))
    same_state(model, recompute_statistics(twin, x.split(5)), tolerance=1e-12)


@pytest.fixture
def untouched(same_state):
    """Assert that a model is as it was: its state, its modes and its hooks."""

    def rest(model):
        return [(m.training, len(m._forward_pre_hooks)) for m in model.modules()]

    def check(model, before):
        same_state(model, before)
        assert rest(model) == rest(before)

    return check


def test_nothing_moves_but_the_running_mean_and_variance(model, batches, untouched):
    before = copy.deepcopy(model)
    assert recompute_statistics(model, batches) is model
    for name, v in before.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            assert not torch.equal(model.state_dict()[name], v)
            v.copy_(model.state_dict()[name])
    untouched(model, before)


def failing(batches):
    yield batches[0]
    raise OSError("the disk is gone")


def wrong_width(batches):
    return [batches[0], batches[1][:, :2]]


def one_example_last(batches):
    return [*batches, batches[0][:1]]


@pytest.mark.parametrize(
    ("spoil", "error"), [(failing, OSError), (wrong_width, RuntimeError), (one_example_last, ValueError)]
)
def test_a_failure_midway_leaves_everything_as_it_was(model, batches, untouched, spoil, error):
    before = copy.deepcopy(model)
    with pytest.raises(error):
        recompute_statistics(model, spoil(batches))
    untouched(model, before)


def test_batches_that_algorithm_2_refuses_leave_everything_as_it_was(model, ragged, untouched):
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=r"batches of one size m > 1 \(got \[2, 5, 9\] values per channel\)"):
        recompute_statistics(model, ragged, algorithm2)
    untouched(model, before)


def test_no_batch_at_all_is_refused(model, untouched):
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match="at least one batch"):
        recompute_statistics(model, [])
    untouched(model, before)


@pytest.mark.parametrize(
    "model", [PaperNetwork(), PaperNetwork(lambda c: BatchNorm(c, track_running_stats=False))]
)
def test_a_model_without_running_statistics_is_refused(model):
    with pytest.raises(ValueError, match=r"batch norms that keep running statistics \(got none\)"):
        recompute_statistics(model, [torch.randn(2, 784)])


def test_recomputing_needs_no_graph(model, batches):
    recompute_statistics(model, [x.requires_grad_() for x in batches])
    assert not any(buffer.requires_grad for buffer in model.buffers())


def test_padded_sequences_of_any_lengths_have_the_statistics_of_their_valid_positions(generator):
    norm = MaskedBatchNorm(3, dtype=torch.float64)
    batches, valid = [], []
    for n, length in ((4, 7), (2, 3), (5, 1)):
        x = 3 + 2 * torch.randn(n, 3, length, generator=generator, dtype=torch.float64)
        mask = torch.arange(length) < torch.randint(1, length + 1, (n, 1), generator=generator)
        valid.append(x.movedim(1, -1)[mask])
        x.movedim(1, -1)[~mask] = torch.nan
        batches.append((x, mask))
    recompute_statistics(norm, batches, call=lambda model, batch: model(*batch))
    assert_population(norm, torch.cat(valid))


def test_half_precision_inputs_are_measured_in_float32(generator):
    x = (1000 * torch.randn(50, 3, generator=generator)).half()  # whose squares float16 cannot hold
    norm = recompute_statistics(nn.BatchNorm1d(3), [x])
    torch.testing.assert_close(norm.running_var, x.float().var(dim=0, correction=0))


def test_what_is_no_batch_norm_or_is_frozen_stays_as_it_is(generator, same_state):
    others = nn.Sequential(nn.InstanceNorm1d(5, track_running_stats=True), FrozenBatchNorm(5)).eval()
    before, x = copy.deepcopy(others), torch.randn(6, 5, 1, generator=generator)
    recompute_statistics(nn.Sequential(others, nn.BatchNorm1d(5)), [x])
    same_state(others, before)
    with pytest.raises(ValueError, match="batch norms that keep running statistics"):
        recompute_statistics(others, [x])


def test_algorithm_2_takes_batches_of_two_values():
    two = Statistics(torch.tensor([3.0]), torch.tensor([0.25]), 2)
    mean, var = algorithm2([two, two])
    assert (mean.item(), var.item()) == (3.0, 0.5)


def test_an_empty_batch_and_one_of_padding_alone_say_nothing(generator):
    x = torch.randn(6, 3, 4, generator=generator, dtype=torch.float64)
    mask = torch.ones(6, 4, dtype=torch.bool)
    norm = MaskedBatchNorm(3, dtype=x.dtype)
    batches = [(x, mask), (x, ~mask), (x[:0], mask[:0])]
    recompute_statistics(norm, batches, call=lambda model, batch: model(*batch))
    assert_population(norm, x)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
def test_a_skipping_norm_skips_here_too(generator, bad):
    x = torch.randn(6, 3, generator=generator)
    norm = SkippingBatchNorm(3)
    recompute_statistics(norm, [x, torch.full((6, 3), bad) * torch.arange(6).unsqueeze(1), x])
    torch.testing.assert_close(norm.running_mean, x.mean(dim=0))


@pytest.mark.parametrize("norm", [BatchRenorm, lambda c: GhostBatchNorm(c, 32)], ids=["renorm", "ghost"])
@pytest.mark.parametrize("spoilt", [False, True], ids=["new", "spoilt"])
def test_norms_that_train_in_another_way_are_plain_while_they_are_measured(generator, norm, spoilt):
    # behind a renorm, which corrected by what it had kept, the spread came out as 0.54; no part of 250 is
    # a multiple of 32
    model = nn.Sequential(norm(6), nn.Linear(6, 6, bias=False), norm(6)).double()
    if spoilt:
        model[0].running_mean.fill_(torch.nan)
    plain = copy.deepcopy(model)
    plain[0], plain[2] = BatchNorm(6).double(), BatchNorm(6).double()
    x = 50 + 3 * torch.randn(1000, 6, generator=generator, dtype=torch.float64)
    recompute_statistics(model, x.split(250))
    recompute_statistics(plain, x.split(250))
    for norm, other in ((model[0], plain[0]), (model[2], plain[2])):
        assert_close(norm.running_mean, other.running_mean)
        assert_close(norm.running_var, other.running_var)
    assert_close(model.eval()(x).std(dim=0), torch.ones(6).double(), rtol=0.02, atol=0)


@pytest.mark.parametrize("width", [5, 2], ids=["measured", "refused"])
def test_and_train_in_their_own_way_again_afterwards(batches, width):
    model = nn.Sequential(BatchRenorm(5), GhostBatchNorm(5, 4)).double()
    twin = copy.deepcopy(model)
    with nullcontext() if width == 5 else pytest.raises(RuntimeError):
        recompute_statistics(model, [batches[0][:, :width]])
    twin.load_state_dict(model.state_dict())
    assert_close(model(batches[1]), twin(batches[1]), rtol=0, atol=0)


def test_norms_that_are_called_by_keyword_are_measured(generator):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.theirs, self.masked = nn.BatchNorm1d(3), MaskedBatchNorm(3)

        def forward(self, x):
            return self.masked(mask=torch.ones(len(x), dtype=torch.bool), x=self.theirs(input=x))

    x = 3 + torch.randn(6, 3, generator=generator)
    model = recompute_statistics(Model(), [x])
    torch.testing.assert_close(model.theirs.running_mean, x.mean(dim=0))
    torch.testing.assert_close(model.masked.running_mean, torch.zeros(3), rtol=0, atol=1e-6)


class WithAuxiliaryHead(nn.Module):
    """As GoogLeNet and Inception v3: the head is called in training only."""

    def __init__(self):
        super().__init__()
        self.trunk, self.head = nn.BatchNorm1d(5).double(), nn.Sequential(nn.BatchNorm1d(5).double())

    def forward(self, x):
        h = self.trunk(x)
        return (h, self.head(h)) if self.training else h


def test_a_norm_that_no_batch_reaches_is_named_and_nothing_moves(batches, untouched):
    model = WithAuxiliaryHead().eval()
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=r"none through \['head.0'\]\): .* training mode, or by a `call`"):
        recompute_statistics(model, batches)
    untouched(model, before)
    trained = recompute_statistics(copy.deepcopy(model).train(), batches)
    recompute_statistics(model, batches, call=lambda model, x: model.head(model.trunk(x)))
    assert_population(model.trunk, torch.cat(batches))
    assert_close(model.head[0].running_var, trained.head[0].running_var)
