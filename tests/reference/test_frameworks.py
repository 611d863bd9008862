"""Statistics carried between conventions: against moving averages written out, and against trained layers."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bnlib.engines import Keras2FusedLayer, Keras2Layer, TorchLayer, computes_in, installed
from bnlib.reference import (
    CONVENTIONS,
    FLAX,
    KERAS,
    KERAS_FUSED,
    ONNX,
    PAPER,
    TORCH,
    MovingAverage,
    Population,
    absorb_eps,
    batch_statistics,
    convert_momentum,
    convert_statistics,
    inference_batch_norm,
    running_statistics,
    unbiased_variance,
    update_running,
)

OTHERS = [layer for layer in installed() if layer is not TorchLayer]
OTHERS += [layer for layer in (Keras2Layer, Keras2FusedLayer) if layer.is_here()]
WITH_MOMENTUM = [c for c in CONVENTIONS if c.momentum_weighs is not None]


def kept(convention, batches, weight, start=1.0):
    """The running statistics of a convention, written out from the definition."""
    mean, var = np.zeros(batches[0].shape[1]), np.full(batches[0].shape[1], start)
    for t, batch in enumerate(batches, start=1):
        new = batch_statistics(batch)
        a = 1 / t if weight is None else weight
        mean = update_running(mean, new.mean, a)
        var = update_running(var, new.var if convention.kept == "biased" else unbiased_variance(new), a)
    return Population(mean, var)


@pytest.mark.parametrize("convention", [TORCH, KERAS], ids=lambda c: c.name)
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5)], ids=str)
def test_running_statistics_are_those_of_the_definition(convention, shape, rng):
    batches = [rng.normal(2, 3, size=shape) for _ in range(4)]
    assert_same(running_statistics(batches, convention, 0.3), kept(convention, batches, 0.3))


def drawn(rng, m, steps, scale=1.0):
    return [3 + scale * np.array([1.0, 0.01, 10.0]) * rng.normal(size=(m, 3)) for _ in range(steps)]


def assert_same(ours, theirs, rtol=1e-12):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=0)


histories = st.builds(
    MovingAverage,
    count=st.integers(2, 9),
    steps=st.integers(1, 40),
    weight=st.one_of(st.none(), st.floats(0.0, 1.0)),
    start=st.floats(0.0, 4.0),
)


@given(history=histories, seed=st.integers(0, 1000))
def test_a_converted_variance_is_what_the_target_would_have_kept(history, seed):
    batches = drawn(np.random.default_rng(seed), history.count, history.steps)
    unbiased, biased = (kept(c, batches, history.weight, history.start) for c in (TORCH, KERAS))
    for a, b in ((TORCH, KERAS), (KERAS, TORCH)):
        from_a, from_b = (unbiased, biased) if a is TORCH else (biased, unbiased)
        # What is left of the start is taken out and put back: rounding is relative to the larger of the two.
        for got, wanted in zip(convert_statistics(from_a, a, b, history), from_b, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-14 * (1 + history.start))


@given(
    history=histories,
    brought=st.lists(st.floats(0, 1e6), min_size=1, max_size=5),
    pair=st.permutations(CONVENTIONS).map(lambda c: c[:2]),
)
def test_there_and_back_changes_nothing_but_rounding(history, brought, pair):
    var = history.weight_of_start() * history.start + np.array(brought)
    start = Population(np.arange(len(brought)), var)
    there = convert_statistics(start, *pair, history)
    back = convert_statistics(there, *reversed(pair), history)
    np.testing.assert_array_equal(back.mean, start.mean)
    np.testing.assert_allclose(back.var, start.var, rtol=1e-14, atol=1e-14)


def test_with_the_start_forgotten_the_factor_is_the_whole_conversion(rng):
    statistics = Population(np.zeros(3), np.array([1.0, 2.0, 3.0]))
    history = MovingAverage(count=5, steps=math.inf, weight=0.1)
    converted = convert_statistics(statistics, TORCH, KERAS, history)
    np.testing.assert_allclose(converted.var, [0.8, 1.6, 2.4], rtol=1e-15)


def test_before_the_first_step_there_is_nothing_to_convert():
    fresh = Population(np.zeros(2), np.ones(2))
    for weight in (0.1, None):
        assert_same(convert_statistics(fresh, TORCH, KERAS, MovingAverage(5, 0, weight)), fresh)


def test_a_plain_average_forgets_its_start_at_the_first_step():
    assert MovingAverage(5, 1, None).weight_of_start() == 0
    assert MovingAverage(5, 1, 0.25).weight_of_start() == 0.75


def test_conventions_that_keep_the_same_variance_need_no_history():
    statistics = Population(np.array([1.0]), np.array([2.0]))
    for pair in ((KERAS, FLAX), (FLAX, ONNX), (TORCH, PAPER), (TORCH, TORCH), (KERAS_FUSED, TORCH)):
        assert_same(convert_statistics(statistics, *pair), statistics)


def test_a_copied_variance_is_off_by_a_factor_of_two_where_m_is_two(rng):
    batches = drawn(rng, 2, 400)
    ratio = kept(TORCH, batches, 0.1).var / kept(KERAS, batches, 0.1).var
    np.testing.assert_allclose(ratio, 2, rtol=1e-12)


@given(momentum=st.floats(0, 1), pair=st.permutations(WITH_MOMENTUM).map(lambda c: c[:2]))
def test_a_converted_momentum_forgets_as_fast(momentum, pair):
    source, target = pair
    converted = convert_momentum(momentum, source, target)
    weights = [
        value if convention.momentum_weighs == "new" else 1 - value
        for value, convention in ((momentum, source), (converted, target))
    ]
    assert weights[0] == pytest.approx(weights[1], abs=1e-15)
    assert convert_momentum(converted, target, source) == pytest.approx(momentum, abs=1e-15)


def test_the_defaults_are_not_each_others():
    assert convert_momentum(TORCH.momentum, TORCH, KERAS) == pytest.approx(0.9)
    assert convert_momentum(KERAS.momentum, KERAS, TORCH) == pytest.approx(0.01)


def test_the_plain_average_has_no_counterpart():
    assert convert_momentum(None, TORCH, TORCH) is None
    said = r"got momentum=None, PyTorch's plain average\): no constant momentum averages all batches alike$"
    with pytest.raises(ValueError, match=said):
        convert_momentum(None, TORCH, KERAS)


def test_the_paper_sets_no_momentum():
    with pytest.raises(ValueError, match=r"with a momentum \(got paper's\)"):
        convert_momentum(0.1, TORCH, PAPER)


@given(var=st.floats(0, 1e3), eps=st.floats(1e-6, 1e-2), target_eps=st.floats(1e-6, 1e-2))
def test_an_absorbed_eps_leaves_the_output_as_it_was(var, eps, target_eps):
    x, one, zero = np.array([[1.0], [-2.0]]), np.ones(1), np.zeros(1)
    if var + eps < target_eps:
        with pytest.raises(ValueError, match="set the target's eps instead"):
            absorb_eps([var], eps, target_eps)
        return
    absorbed = absorb_eps([var], eps, target_eps)
    np.testing.assert_allclose(
        inference_batch_norm(x, one, zero, zero, absorbed, target_eps),
        inference_batch_norm(x, one, zero, zero, np.array([var]), eps),
        rtol=1e-12,
    )


def test_a_negative_eps_is_refused():
    with pytest.raises(ValueError, match="expected eps >= 0"):
        absorb_eps([1.0], -1e-5, 1e-3)


def test_an_eps_of_zero_is_absorbed_too():
    np.testing.assert_array_equal(absorb_eps([1.0], 0.0, 0.25), [0.75])
    np.testing.assert_array_equal(absorb_eps([1.0], 0.25, 0.0), [1.25])


def test_an_eps_that_cannot_be_absorbed_is_refused_with_what_there_is():
    there_is = r"var \+ eps >= 0.001 in every channel \(got 1e-05\): set the target's eps instead"
    with pytest.raises(ValueError, match=there_is):
        absorb_eps([1.0, 0.0], 1e-5, 1e-3)


GOOD = MovingAverage(count=5, steps=10, weight=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 1}, "more than 1 value per channel"),
        ({"count": None}, r"that of every batch \(got None\)"),
        ({"count": [60, 60, 7]}, "with batches of several sizes, or an unknown one"),
        ({"count": math.nan}, "more than 1 value per channel"),
        ({"count": math.inf}, "more than 1 value per channel"),
        ({"steps": -1}, "a number of steps >= 0"),
        ({"steps": math.nan}, "a number of steps >= 0"),
        ({"steps": None}, "a number of steps >= 0"),
        ({"weight": 1.5}, r"the weight of the new value in \[0, 1\] \(got 1.5\)"),
        ({"start": -1.0}, "a start >= 0"),
        ({"start": math.nan}, "a start >= 0"),
        ({"start": 100.0}, "the history is not that of this variance"),
    ],
)
def test_a_history_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        convert_statistics(Population(np.zeros(2), np.ones(2)), TORCH, KERAS, GOOD._replace(**change))


def test_without_a_history_the_variance_is_not_converted():
    with pytest.raises(
        ValueError, match=r"PyTorch keeps the unbiased one and Keras.* from the first batch on$"
    ):
        convert_statistics(Population(np.zeros(2), np.ones(2)), TORCH, KERAS)


@pytest.mark.parametrize(
    ("mean", "var", "message"),
    [
        (np.zeros(2), np.ones(3), r"one shape \(C,\) \(got \(2,\) and \(3,\)\)"),
        (np.zeros((2, 1)), np.ones((2, 1)), "one shape"),
        (np.zeros(2), np.array([1.0, -1e-9]), r"var >= 0 in every channel \(got -1e-09\)"),
        (np.zeros(2), np.array([1.0, np.nan]), "var >= 0"),
    ],
)
def test_statistics_that_cannot_be_are_refused(mean, var, message):
    with pytest.raises(ValueError, match=message):
        convert_statistics(Population(mean, var), TORCH, KERAS, GOOD)


@pytest.mark.parametrize("unknown", ["keras", None])
def test_an_unknown_convention_is_refused(unknown):
    with pytest.raises(ValueError, match="expected a Convention, such as those of paper, PyTorch"):
        convert_statistics(Population(np.zeros(2), np.ones(2)), TORCH, unknown, GOOD)
    with pytest.raises(ValueError, match="expected a Convention"):
        convert_momentum(0.1, unknown, TORCH)


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: c.name)
def test_a_convention_can_be_made_from_another(convention):
    assert dataclasses.replace(convention, name="another").names == convention.names


@pytest.mark.parametrize("change", [{"kept": "sample"}, {"momentum_weighs": "both"}])
def test_a_convention_out_of_the_ordinary_is_refused(change):
    with pytest.raises(ValueError, match="expected"):
        dataclasses.replace(KERAS, **change)


@pytest.mark.parametrize("momentum", [-0.1, 1.1, math.nan])
def test_a_momentum_out_of_range_is_refused(momentum):
    with pytest.raises(ValueError, match=r"expected momentum in \[0, 1\]"):
        convert_momentum(momentum, TORCH, KERAS)


# Each framework's own layer, fed with the same batches.


def trained(layer, batches, weight):
    norm = layer(3, momentum=convert_momentum(weight, TORCH, layer.convention))
    for batch in batches:
        norm.train(batch)
    return norm


def assert_converted(layer, batches, weight, tolerance):
    """PyTorch's statistics become the framework's, and the framework's PyTorch's."""
    ours, theirs = (trained(kind, batches, weight).statistics() for kind in (TorchLayer, layer))
    history = MovingAverage(batches[0].size // 3, len(batches), weight)
    there = convert_statistics(ours, TORCH, layer.convention, history)
    back = convert_statistics(theirs, layer.convention, TORCH, history)
    for got, wanted in ((there, theirs), (back, ours)):
        np.testing.assert_allclose(got.mean, wanted.mean, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(got.var, wanted.var, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=OTHERS, ids=lambda layer: layer.convention.name)
def layer(request):
    return request.param


@pytest.fixture
def tolerance(layer):
    # A layer of Keras computes in float32, and E[x^2] - E[x]^2 there, whatever dtype it is made with.
    return {"float64": 1e-12, "float32": 2e-5}[computes_in(layer)]


# ONNX keeps momentum as a float32: these weights, and one minus them, it holds exactly.
WEIGHTS = [0.5, 0.125, 0.0625]


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize(("m", "steps"), [(2, 1), (2, 30), (3, 7), (8, 60), (60, 5)])
def test_statistics_of_trained_layers_are_converted_both_ways(layer, tolerance, m, steps, weight, rng):
    assert_converted(layer, drawn(rng, m, steps), weight, tolerance)


@pytest.mark.parametrize("shape", [(4, 3, 5), (2, 3, 4, 5)], ids=str)
def test_of_images_the_count_is_batch_times_positions(layer, tolerance, shape, rng):
    assert_converted(layer, [rng.normal(2, 3, size=shape) for _ in range(6)], 0.125, tolerance)


@pytest.mark.parametrize("m", [2, 4, 8])
def test_whole_numbers_are_converted_exactly_by_all(layer, m, rng):
    # Their means and variances are multiples of 1/m^2, and six halvings later float32 still holds them.
    batches = [rng.integers(-4, 5, size=(m, 3)).astype(float) for _ in range(6)]
    # but for the fused kernel, whose m/(m-1) is a float32
    assert_converted(layer, batches, 0.5, 1e-6 if layer is Keras2FusedLayer else 1e-14)


def test_a_layer_loaded_with_converted_statistics_answers_as_the_one_that_learned_them(layer, tolerance, rng):
    batches = drawn(rng, 4, 9)
    source, native = trained(TorchLayer, batches, 0.125), trained(layer, batches, 0.125)
    history = MovingAverage(4, 9, 0.125)
    fresh = layer(3)
    fresh.load(convert_statistics(source.statistics(), TORCH, layer.convention, history))
    x = rng.normal(size=(5, 3))
    np.testing.assert_allclose(fresh.infer(x), native.infer(x), rtol=tolerance, atol=tolerance)


def test_with_eps_absorbed_the_outputs_of_two_frameworks_are_one(layer, rng):
    norm = TorchLayer(3)
    mean, var = np.array([0.5, -1.0, 2.0]), np.array([0.01, 1.0, 30.0])
    norm.load(Population(mean, var))
    other = layer(3)
    other.load(Population(mean, absorb_eps(var, TORCH.eps, layer.convention.eps)))
    x = rng.normal(size=(5, 3))
    np.testing.assert_allclose(other.infer(x), norm.infer(x), rtol=1e-6, atol=1e-6)


def test_the_plain_average_of_torch_is_converted_without_its_start(rng):
    batches = drawn(rng, 5, 12)
    layer = torch.nn.BatchNorm1d(3, momentum=None, dtype=torch.float64)
    for batch in batches:
        layer(torch.from_numpy(batch))
    statistics = Population(layer.running_mean.numpy(), layer.running_var.numpy())
    history = MovingAverage(5, int(layer.num_batches_tracked), None)
    assert_same(convert_statistics(statistics, TORCH, KERAS, history), kept(KERAS, batches, None))


# Values as layers and disks hold them: whatever comes in, float64 comes out.


@pytest.mark.parametrize("convention", WITH_MOMENTUM, ids=lambda c: c.name)
def test_float32_statistics_are_converted_in_float64(convention):
    statistics = Population(np.zeros(2, np.float32), np.ones(2, np.float32))
    converted = convert_statistics(statistics, TORCH, convention, GOOD)
    assert converted.mean.dtype == converted.var.dtype == np.float64


HELD = {
    "list": lambda v: v.tolist(),
    "float16": lambda v: v.astype(np.float16),
    "tensor": torch.from_numpy,
    "parameter": lambda v: torch.nn.Parameter(torch.from_numpy(v)),
    "torch.float16": lambda v: torch.from_numpy(v).half(),
    "torch.bfloat16": lambda v: torch.from_numpy(v).bfloat16(),
}


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
def test_statistics_are_taken_as_a_layer_holds_them(held):
    mean, var, start = np.array([-0.5, 3.0]), np.array([1.0, 2.5]), np.array([0.75, 0.5])  # exact in bfloat16
    history = MovingAverage(5, 3, 0.5, held(start))
    converted = convert_statistics(Population(held(mean), held(var)), TORCH, KERAS, history)
    assert_same(converted, (mean, start / 8 + (var - start / 8) * 4 / 5), rtol=1e-15)
    absorbed = absorb_eps(held(var), 1e-5, 1e-3)
    np.testing.assert_array_equal(absorbed, var + (1e-5 - 1e-3))
    assert converted.var.dtype == absorbed.dtype == np.float64


@pytest.mark.parametrize("weight", [0.1, None])
def test_the_counts_and_the_momentum_are_taken_as_a_layer_holds_them(rng, weight):
    batches = drawn(rng, 4, 9)
    layer = torch.nn.BatchNorm1d(3, momentum=weight, dtype=torch.float64)
    for batch in batches:
        layer(torch.from_numpy(batch))
    held = weight if weight is None else torch.tensor(weight, dtype=torch.float64)
    history = MovingAverage(torch.tensor(4), layer.num_batches_tracked, held)
    state = layer.state_dict(keep_vars=True)
    statistics = Population(state["running_mean"], state["running_var"])
    assert_same(convert_statistics(statistics, TORCH, KERAS, history), kept(KERAS, batches, weight))
    assert type(history.weight_of_start()) is float


def test_a_momentum_held_as_a_tensor_becomes_a_number():
    for momentum, source, target in ((0.25, TORCH, KERAS), (0.75, KERAS, FLAX)):
        converted = convert_momentum(torch.tensor(momentum), source, target)
        assert (converted, type(converted)) == (0.75, float)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_variance_rounded_for_the_disk_still_belongs_to_its_history(dtype):
    # Of a constant channel only the start is left, here rounded down to less than that.
    left = torch.tensor([0.9**3], dtype=torch.float64)
    rounded = (left * (1 - 2.0**-8)).to(getattr(torch, dtype))
    assert rounded < left
    history = MovingAverage(5, 3, 0.1)
    converted = convert_statistics(Population([0.0], rounded), TORCH, KERAS, history)
    np.testing.assert_allclose(converted.var, left, rtol=1e-2)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_statistics_of_each_framework_are_taken_as_its_layer_holds_them():
    history = MovingAverage(5, 3, 0.5, 0.0)
    held = {TORCH: (torch.nn.BatchNorm1d(2).running_mean, torch.nn.BatchNorm1d(2).running_var)}
    here = {layer.convention for layer in installed()}
    if KERAS in here:
        import keras

        norm = keras.layers.BatchNormalization(axis=1)
        norm.build((None, 2))
        held[KERAS] = norm.moving_mean, norm.moving_variance
    if FLAX in here:
        import jax.numpy as jnp
        from flax import nnx

        norm = nnx.BatchNorm(2, rngs=nnx.Rngs(0))
        held[FLAX] = norm.mean, norm.var[...].astype(jnp.bfloat16)
    for convention, (mean, var) in held.items():
        target = KERAS if convention is TORCH else TORCH
        factor = 4 / 5 if target is KERAS else 5 / 4
        converted = convert_statistics(Population(mean, var), convention, target, history)
        assert_same(converted, (np.zeros(2), np.full(2, factor)))


@pytest.mark.parametrize(
    ("var", "got"),
    [
        ([1 + 2j], "complex128"),
        (torch.tensor([1 + 2j]), "complex64"),
        (["one"], "<U3"),
        (None, "object"),  # track_running_stats=False
    ],
)
def test_what_is_not_made_of_real_numbers_is_refused(var, got):
    with pytest.raises(TypeError, match=rf"expected real numbers \(got {got}\)"):
        convert_statistics(Population([0.0], var), TORCH, FLAX)
    with pytest.raises(TypeError, match=rf"expected real numbers \(got {got}\)"):
        absorb_eps(var, 1e-5, 1e-3)
