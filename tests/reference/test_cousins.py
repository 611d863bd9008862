"""The cousins in NumPy: torch's norms where torch has them, and their own equations where it has not."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose

from bnlib import reference as ref

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture(params=[(6, 3), (4, 6, 5), (2, 4, 4, 5)], ids=str)
def x(request, rng):
    """Off center, and no two values alike."""
    return 3 + np.exp(rng.normal(size=request.param))


@pytest.fixture
def gamma(x):
    return np.linspace(1.5, -0.7, x.shape[1])


@pytest.fixture
def beta(x):
    return np.linspace(-1.0, 3.0, x.shape[1])


def torchs(function, x, *vectors, **options):
    return function(torch.from_numpy(x), *map(torch.from_numpy, vectors), **options).numpy()


@pytest.mark.parametrize("groups", [1, 2, 3, "C"])
def test_group_norm_is_torchs(x, gamma, beta, groups):
    groups = x.shape[1] if groups == "C" else groups
    if x.shape[1] % groups or x[0].size == groups:
        pytest.skip("these channels do not divide so, or a group has one value")
    theirs = F.group_norm(torch.from_numpy(x), groups, torch.from_numpy(gamma), torch.from_numpy(beta))
    assert_allclose(ref.group_norm(x, gamma, beta, groups), theirs.numpy(), **CLOSE)


def test_layer_norm_is_torchs_with_one_gamma_a_channel(x, gamma, beta):
    plain = F.layer_norm(torch.from_numpy(x), x.shape[1:]).numpy()
    expected = ref.per_channel(gamma, x) * plain + ref.per_channel(beta, x)
    assert_allclose(ref.layer_norm(x, gamma, beta), expected, **CLOSE)


def test_instance_norm_is_torchs(x, gamma, beta):
    if x.ndim == 2:
        with pytest.raises(ValueError, match=r"more than 1 value to share a mean \(got 1"):
            ref.instance_norm(x, gamma, beta)
    else:
        weight, bias = torch.from_numpy(gamma), torch.from_numpy(beta)
        theirs = F.instance_norm(torch.from_numpy(x), weight=weight, bias=bias)
        assert_allclose(ref.instance_norm(x, gamma, beta), theirs.numpy(), **CLOSE)


def test_rms_norm_is_torchs_with_one_gamma_a_channel(x, gamma):
    plain = F.rms_norm(torch.from_numpy(x), x.shape[1:], eps=1e-5).numpy()
    assert_allclose(ref.rms_norm(x, gamma), ref.per_channel(gamma, x) * plain, **CLOSE)


def test_on_centered_input_rms_norm_is_layer_norm(x, gamma):
    axes = tuple(range(1, x.ndim))
    centered = x - x.mean(axis=axes, keepdims=True)
    expected = ref.layer_norm(centered, gamma, np.zeros_like(gamma))
    assert_allclose(ref.rms_norm(centered, gamma), expected, **CLOSE)


def test_ghost_batch_norm_is_batch_norm_of_the_parts(x, gamma, beta):
    parts = [ref.batch_norm_forward(part, gamma, beta)[0] for part in np.split(x, len(x) // 2)]
    if x.ndim == 2 or len(x) > 2:
        assert not np.allclose(np.concatenate(parts), ref.batch_norm_forward(x, gamma, beta)[0])
    assert_allclose(ref.ghost_batch_norm(x, gamma, beta, 2), np.concatenate(parts), **CLOSE)
    assert_allclose(
        ref.ghost_batch_norm(x, gamma, beta, len(x)), ref.batch_norm_forward(x, gamma, beta)[0], **CLOSE
    )


def test_batch_renorm_with_r_1_and_d_0_is_batch_norm(x, gamma, beta):
    one, zero = np.ones_like(gamma), np.zeros_like(gamma)
    expected, _ = ref.batch_norm_forward(x, gamma, beta)
    assert_allclose(ref.batch_renorm(x, gamma, beta, one, zero), expected, **CLOSE)


def test_unclipped_batch_renorm_is_inference(x, gamma, beta):
    mean, var = np.full_like(gamma, 2.5), np.full_like(gamma, 0.4)
    r, d = ref.renorm_factors(ref.batch_statistics(x), mean, var, np.inf, np.inf)
    expected = ref.inference_batch_norm(x, gamma, beta, mean, var)
    assert_allclose(ref.batch_renorm(x, gamma, beta, r, d), expected, **CLOSE)


def test_r_and_d_are_the_ratio_and_the_distance_within_their_limits():
    batch = ref.Statistics(np.array([1.0, 50.0, -50.0]), np.array([4.0, 1e4, 1e-4]), 8)
    mean, var = np.array([0.5, 0.0, 0.0]), np.array([1.0, 1.0, 1.0])
    r, d = ref.renorm_factors(batch, mean, var, eps=0)
    assert_allclose(r, [2, 3, 1 / 3])
    assert_allclose(d, [0.5, 5, -5])
    r, d = ref.renorm_factors(batch, mean, var, r_max=1, d_max=0)
    assert_allclose(r, 1)
    assert_allclose(d, 0)


@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 5), (2, 3, 4, 5)], ids=str)
def test_each_outputs_weights_are_standardized(rng, shape):
    weight = 0.1 + 0.3 * rng.normal(size=shape)
    found = ref.standardize_weight(weight, eps=0).reshape(len(weight), -1)
    assert_allclose(found.mean(axis=1), 0, atol=1e-12)
    assert_allclose(found.std(axis=1), 1)
    rows = weight.reshape(len(weight), -1)
    by_rows = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + 1e-5)
    assert_allclose(ref.standardize_weight(weight), by_rows.reshape(shape), **CLOSE)
    scaled = ref.scaled_weight(weight, 1.7, eps=0).reshape(len(weight), -1)
    assert_allclose((scaled**2).sum(axis=1), 1.7**2)


def test_blocks_of_unit_variance_add_up_to_the_skip_scales(rng):
    h, alpha = rng.normal(size=200_000), 0.5
    for scale in ref.skip_scales(4, alpha):
        assert h.std() == pytest.approx(scale, rel=0.01)
        h = h + alpha * rng.permutation(h) / h.std()
    assert ref.skip_scales(1, alpha) == 1


NORMS = {
    "layer": lambda x, g, b: ref.layer_norm(x, g, b),
    "group": lambda x, g, b: ref.group_norm(x, g, b, 1),
    "rms": lambda x, g, b: ref.rms_norm(x, g),
    "ghost": lambda x, g, b: ref.ghost_batch_norm(x, g, b, 2),
    "batch": lambda x, g, b: ref.batch_norm_forward(x, g, b)[0],
    "renorm": lambda x, g, b: ref.batch_renorm(x, g, b, np.full_like(g, 1.1), g),
}


@pytest.mark.parametrize("name", NORMS)
def test_only_norms_over_the_batch_let_another_example_move_an_output(name, x, gamma, beta):
    changed = x.copy()
    changed[1] *= 1.5
    first, again = (NORMS[name](v, gamma, beta)[0] for v in (x, changed))
    assert np.array_equal(first, again) == (name in ("layer", "group", "rms"))


@pytest.mark.parametrize("name", NORMS)
def test_gamma_and_beta_have_one_value_a_channel(name, x, gamma, beta):
    with pytest.raises(ValueError, match="one value per channel"):
        NORMS[name](x, gamma[:-1], beta)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, v: ref.group_norm(x, v, v, 4), r"6 channels to divide into groups \(got 4\)"),
        (lambda x, v: ref.group_norm(x, v, v, 0), r"6 channels to divide into groups \(got 0\)"),
        (lambda x, v: ref.group_norm(x, v, v, 6), r"more than 1 value to share a mean \(got 1"),
        (lambda x, v: ref.ghost_batch_norm(x, v, v, 3), r"a multiple of 3 examples \(got 4\)"),
        (lambda x, v: ref.ghost_batch_norm(x, v, v, 0), r"a multiple of 0 examples"),
        (lambda x, v: ref.ghost_batch_norm(x, v, v, 1), "more than 1 value to share"),
        (lambda x, v: ref.batch_renorm(x[:1], v, v, v, v), "more than 1 value to share"),
        (lambda x, v: ref.renorm_factors(ref.batch_statistics(x), v, v, 0.5), "r_max >= 1"),
        (lambda x, v: ref.renorm_factors(ref.batch_statistics(x), v, v, 1, -1), "d_max >= 0"),
        (lambda x, v: ref.standardize_weight(x[:, :1]), "more than 1 value to share"),
        (lambda x, v: ref.skip_scales(0, 1.0), r"at least one block \(got 0\)"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.arange(24.0).reshape(4, 6), np.ones(6))
