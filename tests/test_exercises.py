"""What is right is accepted, however it is written, and what is wrong is named."""

import functools
import itertools
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bnlib import _mistakes, exercises
from bnlib.exercises import Verdict, check
from bnlib.reference import batch_norm_backward, batch_norm_backward_stepwise, batch_norm_forward

EACH = [np, torch]


def along(v, x):
    return v.reshape((1, -1) + (1,) * (x.ndim - 2))


def pooled(x):
    return (0, *range(2, x.ndim))


def says(verdict, *parts):
    """Whether a verdict is negative and holds these words."""
    return not verdict and all(part in verdict.text for part in parts)


# Right answers, written in different ways.


def two_passes(xp):
    def forward(x, gamma, beta, eps):
        mean = xp.mean(x, axis=pooled(x), keepdims=True)
        var = xp.mean((x - mean) ** 2, axis=pooled(x), keepdims=True)
        return along(gamma, x) * (x - mean) / xp.sqrt(var + eps) + along(beta, x)

    return forward


def as_a_table(xp):
    def forward(x, gamma, beta, eps):
        table = xp.moveaxis(x, 1, -1)
        flat = table.reshape(-1, len(gamma))
        centered = flat - flat.mean(0)
        y = gamma * centered * ((centered**2).mean(0) + eps) ** -0.5 + beta
        return xp.moveaxis(y.reshape(table.shape), -1, 1)

    return forward


def numpy_var(x, gamma, beta, eps):
    s = np.sqrt(x.var(axis=pooled(x)) + eps)
    return along(gamma / s, x) * (x - along(x.mean(pooled(x)), x)) + along(beta, x)


def var_mean(x, gamma, beta, eps):
    var, mean = torch.var_mean(x, dim=pooled(x), correction=0, keepdim=True)
    return along(gamma, x) * (x - mean) * torch.rsqrt(var + eps) + along(beta, x)


def torch_by_its_methods(x, gamma, beta, eps):  # nothing here names torch
    mean = x.mean(dim=pooled(x), keepdim=True)
    var = x.var(dim=pooled(x), keepdim=True, correction=0)
    return (x - mean) / (var + eps).sqrt() * along(gamma, x) + along(beta, x)


def kernel(x, gamma, beta, eps):
    return F.batch_norm(x, None, None, gamma, beta, training=True, eps=eps)


def ranks_by_hand(x, gamma, beta, eps):
    if x.ndim == 2:
        return gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + eps) + beta
    gamma, beta = gamma[:, None, None], beta[:, None, None]
    mean, var = x.mean((0, 2, 3))[:, None, None], x.var((0, 2, 3))[:, None, None]
    return gamma * (x - mean) / np.sqrt(var + eps) + beta


def closed(xp):
    def backward(dy, x, gamma, eps):
        mean = functools.partial(xp.mean, axis=pooled(x), keepdims=True)
        centered = x - mean(x)
        s = xp.sqrt(mean(centered**2) + eps)
        x_hat = centered / s
        dx = along(gamma, x) / s * (dy - mean(dy) - x_hat * mean(dy * x_hat))
        return dx, xp.sum(dy * x_hat, axis=pooled(x)), xp.sum(dy, axis=pooled(x))

    return backward


def six_lines(xp):
    def backward(dy, x, gamma, eps):
        total = functools.partial(xp.sum, axis=pooled(x), keepdims=True)
        m = x.shape[0] * (x.shape[2] * x.shape[3] if x.ndim == 4 else 1)
        mean = total(x) / m
        var = total((x - mean) ** 2) / m
        dx_hat = dy * along(gamma, x)
        dvar = total(dx_hat * (x - mean)) * (-1 / 2) * (var + eps) ** (-3 / 2)
        dmean = total(dx_hat) * -1 / xp.sqrt(var + eps) + dvar * total(-2 * (x - mean)) / m
        dx = dx_hat / xp.sqrt(var + eps) + dvar * 2 * (x - mean) / m + dmean / m
        dgamma = xp.sum(dy * (x - mean) / xp.sqrt(var + eps), axis=pooled(x))
        return [dx, dgamma, xp.sum(dy, axis=pooled(x))]

    return backward


def by_autograd(dy, x, gamma, eps):
    leaves = [v.requires_grad_() for v in (x, gamma, torch.zeros_like(gamma))]
    return torch.autograd.grad(kernel(*leaves, eps), leaves, dy)


def by_the_reference(backward):
    return lambda dy, x, gamma, eps: backward(dy, batch_norm_forward(x, gamma, 0 * gamma, eps)[1])


def inference(xp):
    def inference(x, gamma, beta, running_mean, running_var, eps):
        x_hat = (x - along(running_mean, x)) / xp.sqrt(along(running_var, x) + eps)
        return along(gamma, x) * x_hat + along(beta, x)

    return inference


def folded(xp):
    def inference(x, gamma, beta, running_mean, running_var, eps):
        s = gamma / xp.sqrt(running_var + eps)
        return along(s, x) * x + along(beta - s * running_mean, x)

    return inference


@torch.no_grad()
def inference_kernel(x, gamma, beta, running_mean, running_var, eps):
    return F.batch_norm(x, running_mean, running_var, gamma, beta, eps=eps)


def running_numpy(running_mean, running_var, x, momentum):
    mean, var = x.mean(axis=pooled(x)), x.var(axis=pooled(x), ddof=1)
    return running_mean + momentum * (mean - running_mean), (1 - momentum) * running_var + momentum * var


@torch.no_grad()
def running_torch(running_mean, running_var, x, momentum):
    var, mean = torch.var_mean(x, dim=pooled(x))
    return torch.lerp(running_mean, mean, momentum), torch.lerp(running_var, var, momentum)


def running_kernel(running_mean, running_var, x, momentum):
    new_mean, new_var = running_mean.detach().clone(), running_var.detach().clone()
    F.batch_norm(x, new_mean, new_var, training=True, momentum=momentum)
    return new_mean, new_var


RIGHT = {
    "forward": [
        *(write(xp) for write in (two_passes, as_a_table) for xp in EACH),
        *(numpy_var, var_mean, torch_by_its_methods, kernel, ranks_by_hand),
    ],
    "backward": [
        *(write(xp) for write in (closed, six_lines) for xp in EACH),
        by_autograd,
        *map(by_the_reference, (batch_norm_backward, batch_norm_backward_stepwise)),
    ],
    "inference": [*(write(xp) for write in (inference, folded) for xp in EACH), inference_kernel],
    "running": [running_numpy, running_torch, running_kernel],
}


@pytest.mark.parametrize(("name", "mine"), [(name, mine) for name in RIGHT for mine in RIGHT[name]])
def test_a_right_answer_is_right_however_it_is_written(name, mine):
    verdict = check(name, mine)
    assert verdict, verdict
    assert repr(verdict).startswith("Right: ")


# The known mistakes. First the table itself: each of its lines is recognized, and no two are one.

CASES = [exercises._data(5, 3), exercises._data(4, 3, 2, 3)]
TABLE = [
    (name, output, sentence, steps)
    for name, outputs in _mistakes.FORMULAS.items()
    for output, (_, mistakes) in outputs.items()
    for sentence, steps in mistakes.items()
]


def numbers(name, output, **steps):
    """What a formula makes of both batches, end to end."""
    formula, _ = _mistakes.FORMULAS[name][output]
    found = [formula(*(data[key] for key in exercises._ARGUMENTS[name]), **steps) for data in CASES]
    return np.concatenate([v.ravel() for v in found])


@pytest.mark.parametrize("name", _mistakes.FORMULAS)
def test_with_nothing_replaced_a_formula_is_right(name):
    def mine(*inputs):
        values = tuple(formula(*inputs) for formula, _ in _mistakes.FORMULAS[name].values())
        return values if len(values) > 1 else values[0]

    assert check(name, mine)


@pytest.mark.parametrize(
    ("name", "output"), [(n, output) for n, outputs in _mistakes.FORMULAS.items() for output in outputs]
)
def test_any_two_mistakes_are_told_apart(name, output):
    _, mistakes = _mistakes.FORMULAS[name][output]
    found = {"right": numbers(name, output)} | {s: numbers(name, output, **mistakes[s]) for s in mistakes}
    for (first, a), (second, b) in itertools.combinations(found.items(), 2):
        assert not np.allclose(a, b, rtol=1e-6, atol=1e-6), f"{first} = {second}"


@pytest.mark.parametrize(("name", "output", "sentence", "steps"), TABLE)
def test_every_mistake_of_the_table_is_named_and_the_other_outputs_are_right(name, output, sentence, steps):
    def mine(*inputs):
        values = tuple(
            formula(*inputs, **(steps if key == output else {}))
            for key, (formula, _) in _mistakes.FORMULAS[name].items()
        )
        return values if len(values) > 1 else values[0]

    verdict = check(name, mine)
    assert not verdict
    dense = "Right for (N, C), not for (N, C, H, W). "  # where only the positions are forgotten
    assert verdict.text.removeprefix(dense).startswith(f"{output}: {sentence}")
    assert len(_mistakes.FORMULAS[name]) == 1 or verdict.text.endswith(": right.)")


# Then the mistakes as people write them, once in NumPy and once in torch.


def forward_with(xp, text):
    """The forward pass with one line written as given."""
    lines = {
        "mean": "xp.mean(x, axis=axes, keepdims=True)",
        "var": "xp.mean((x - mean) ** 2, axis=axes, keepdims=True)",
        "y": "along(gamma, x) * (x - mean) / xp.sqrt(var + eps) + along(beta, x)",
    }
    key, _, line = text.partition(" = ")
    order = {"axes": "pooled(x)", **lines} | {key: line}
    body = "".join(f"    {k} = {v}\n" for k, v in order.items())
    return defined(xp, f"def mine(x, gamma, beta, eps):\n{body}    return y\n")


def defined(xp, source):
    space = {"xp": xp, "along": along, "pooled": pooled, "torch": torch} | {xp.__name__: xp}
    exec(source, space)
    return space["mine"]


FORWARD = {
    "axes = (0,) if x.ndim == 2 else (0, 1, 2)": "The last axis is taken for the channels",
    "axes = 0": "over the batch alone",
    "axes = tuple(range(1, x.ndim))": "layer normalization",
    "axes = 1": "over axis 1, the channels",
    "axes = tuple(range(x.ndim))": "All channels share",
    "axes = tuple(range(2, x.ndim)) if x.ndim > 2 else (0,)": "Right for (N, C), not for (N, C, H, W)",
    "mean = xp.sum(x, axis=axes, keepdims=True)": "The mean is a sum",
    "var = xp.sum((x - mean) ** 2, axis=axes, keepdims=True)": "The variance is a sum of squares",
    "var = xp.mean(x ** 2, axis=axes, keepdims=True) - mean ** 2": "E[x^2] - E[x]^2",
    "var = xp.sum((x - mean) ** 2, axis=axes, keepdims=True) / (x[:, 0].reshape(-1).shape[0] - 1)": "m - 1",
    "y = along(gamma, x) * (x - mean) / (xp.sqrt(var) + eps) + along(beta, x)": "eps is outside the root",
    "y = along(gamma, x) * (x - mean) / xp.sqrt(var) + along(beta, x)": "eps is left out",
    "y = along(gamma, x) * (x - mean) / xp.sqrt(var + 1e-5) + along(beta, x)": "eps is 1e-5",
    "y = along(gamma, x) * (x - mean) / (var + eps) + along(beta, x)": "The root is missing",
    "y = along(gamma, x) * (x - mean) / xp.sqrt(var**0.5 + eps) + along(beta, x)": "The standard deviation",
    "y = along(gamma, x) * (x - mean) + along(beta, x)": "The division by sqrt(var + eps) is missing",
    "y = along(gamma, x) * x / xp.sqrt(var + eps) + along(beta, x)": "The mean is not subtracted",
    "y = along(gamma, x) * x / xp.sqrt(var + eps) + along(beta, x) - mean": "subtracted unscaled",
    "y = (x - mean) / xp.sqrt(var + eps) + along(beta, x)": "gamma is forgotten",
    "y = along(gamma, x) * (x - mean) / xp.sqrt(var + eps)": "beta is forgotten",
    "y = (x - mean) / xp.sqrt(var + eps)": "gamma and beta are forgotten",
    "y = along(beta, x) * (x - mean) / xp.sqrt(var + eps) + along(gamma, x)": "gamma and beta are swapped",
    "y = along(gamma, x) * ((x - mean) / xp.sqrt(var + eps) + along(beta, x))": "beta is multiplied by gamma",
    "y = gamma * (x - mean) / xp.sqrt(var + eps) + beta": "gamma and beta are lined up with the last axis",
    "y = along(gamma, x) * (x - x.mean(0)) / xp.sqrt(var + eps) + along(beta, x)": "Right for (N, C)",
    "y = (x - mean) / (xp.sqrt(var) + eps) + along(beta, x)": "Two things. eps is outside the root",
}


@pytest.mark.parametrize("xp", EACH)
@pytest.mark.parametrize("line", FORWARD)
def test_a_wrong_line_of_the_forward_pass_is_named(xp, line):
    assert says(check("forward", forward_with(xp, line)), "y: ", FORWARD[line])


BACKWARD = {  # the bracket, from which dx is made
    "dy - x_hat * mean(dy * x_hat)": "dx: The mean's term is missing",
    "dy - mean(dy)": "dx: The variance's term is missing",
    "dy": "dx: The statistics are outside the gradient",
    "dy - mean(dy) + x_hat * mean(dy * x_hat)": "dx: The sign of the variance's term",
    "dy - mean(dy) - centered * mean(dy * centered)": "dx: The variance's term has x - mean twice",
    "dy - mean(dy) - centered * mean(dy * x_hat)": "dx: The variance's term has x - mean once",
    "dy - dbeta - x_hat * dgamma": "dx: Sums stand where means belong",
    "dy - dbeta / len(x) - x_hat * dgamma / len(x)": "dx: m counts the examples alone",
    "(dy - mean(dy) - x_hat * mean(dy * x_hat)) / along(gamma, x)": "dx: gamma is forgotten",
    "(dy - mean(dy) - x_hat * mean(dy * x_hat)) * s": "dx: The factor 1 / sqrt(var + eps) is missing",
    "0 * dy": "dx: All zero",
    "-7 * (dy - mean(dy) - x_hat * mean(dy * x_hat))": "dx: Off by a factor: -7 times",
    "dy - mean(dy) - x_hat * mean(dy * x_hat) + 1": "dx: Off by a constant",
    "dy - mean(dy) + x_hat * mean(dy * x_hat) / 1e-3": "dx: The numbers fit no mistake",
}


@pytest.mark.parametrize("xp", EACH)
@pytest.mark.parametrize("bracket", BACKWARD)
def test_a_wrong_bracket_of_the_backward_pass_is_named(xp, bracket):
    mine = defined(
        xp,
        f"""
def mine(dy, x, gamma, eps):
    mean = lambda v: xp.mean(v, axis=pooled(x), keepdims=True)
    centered = x - mean(x)
    s = xp.sqrt(mean(centered**2) + eps)
    x_hat = centered / s
    dgamma = xp.sum(dy * x_hat, axis=pooled(x), keepdims=True)
    dbeta = xp.sum(dy, axis=pooled(x), keepdims=True)
    return along(gamma, x) / s * ({bracket}), dgamma.reshape(-1), dbeta.reshape(-1)
""",
    )
    assert says(check("backward", mine), BACKWARD[bracket], "(dgamma, dbeta: right.)")


@pytest.mark.parametrize("xp", EACH)
@pytest.mark.parametrize(
    ("values", "what"),
    [
        ("dx, dbeta, dgamma", ["dgamma: This is dbeta.", "dbeta: This is dgamma.", "(dx: right.)"]),
        ("dx, dgamma / m, dbeta / m", ["dgamma, dbeta: A mean stands where the sum belongs."]),
        ("dx, dgamma * gamma, dbeta * gamma", ["dgamma, dbeta: There is a factor gamma too many."]),
        (
            "dgamma, dbeta, dx",
            ["dx: expected shape (5, 3) (got (3,)).", "It is dgamma, but in another order."],
        ),
        ("dx, dgamma.reshape(1, -1), dbeta", ["expected shape (3,) (got (1, 3)).", "those of dgamma"]),
        ("dx, dgamma", ["expected dx, dgamma, dbeta and nothing else (got 2 in a tuple)."]),
        ("dx", ["expected dx, dgamma, dbeta and nothing else (got one "]),
        ("dx, dgamma, None", ["Nothing returned yet."]),
    ],
)
def test_what_backward_returns_is_looked_at_one_by_one(xp, values, what):
    mine = defined(
        xp,
        f"""
def mine(dy, x, gamma, eps):
    dx, dgamma, dbeta = right(dy, x, gamma, eps)
    m = x[:, 0].reshape(-1).shape[0]
    return {values}
""",
    )
    mine.__globals__["right"] = closed(xp)
    assert says(check("backward", mine), *what)


INFERENCE = {
    "s, m = xp.sqrt(x_var + eps), x_mean": "Batch statistics",
    "s = xp.sqrt(x_var + eps)": "The variance is the batch's",
    "m = x_mean": "The mean is the batch's",
    "s, m = xp.sqrt(m + eps), s ** 2 - eps": "running_mean and running_var are swapped",
    "s = s ** 2": "The root is missing",
    "s = xp.sqrt(s ** 2 - eps) + eps": "eps is outside the root",
    "m = 0 * m": "The mean is not subtracted",
    "m = m * s / along(gamma, x)": "The mean is subtracted unscaled",
    "s, m = s.reshape(-1), m.reshape(-1)": "running_mean and running_var are lined up with the last axis",
}


@pytest.mark.parametrize("xp", EACH)
@pytest.mark.parametrize("change", INFERENCE)
def test_a_wrong_line_at_inference_is_named(xp, change):
    mine = defined(
        xp,
        f"""
def mine(x, gamma, beta, running_mean, running_var, eps):
    x_mean = xp.mean(x, axis=pooled(x), keepdims=True)
    x_var = xp.mean((x - x_mean) ** 2, axis=pooled(x), keepdims=True)
    m, s = along(running_mean, x), xp.sqrt(along(running_var, x) + eps)
    {change}
    return along(gamma, x) * (x - m) / s + along(beta, x)
""",
    )
    assert says(check("inference", mine), "y: ", INFERENCE[change])


RUNNING = {
    "a * running_mean + (1 - a) * mean, a * running_var + (1 - a) * unbiased": [
        "the new mean, the new variance: momentum is the wrong way round"
    ],
    "(1 - a) * running_mean + a * mean, (1 - a) * running_var + a * var": [
        "the new variance: The biased variance is kept",
        "(the new mean: right.)",
    ],
    "a * running_mean + (1 - a) * mean, a * running_var + (1 - a) * var": [
        "the new mean: momentum is the wrong way round",
        "the new variance: Two things. momentum is the wrong way round",
        "And: The biased variance is kept",
    ],
    "a * mean, a * unbiased": ["The old value is lost"],
    "mean, unbiased": ["The batch replaces the old value"],
    "running_mean + a * mean, running_var + a * unbiased": ["The old value keeps its whole weight"],
    "running_mean, running_var": ["The old value is returned as it came"],
    "0.9 * running_mean + 0.1 * mean, 0.9 * running_var + 0.1 * unbiased": ["The weight of the batch is 0.1"],
    "(1 - a) * running_mean + a * mean, (1 - a) * running_var + a * xp.sqrt(unbiased)": [
        "standard deviation"
    ],
    "(1 - a) * running_var + a * unbiased, (1 - a) * running_mean + a * mean": [
        "the new mean: This is the new variance.",
        "the new variance: This is the new mean.",
    ],
    "(1 - a) * running_mean + a * mean, (1 - a) * running_var + a * shortcut": [
        "the new variance: ",
        "E[x^2]",
    ],
    "(1 - a) * running_mean + a * mean, (1 - a) * running_var + a * var * len(x) / (len(x) - 1)": [
        "the new variance: m counts the examples alone"
    ],
    "(1 - a) * running_mean + a * x.mean(), (1 - a) * running_var + a * unbiased": [
        "the new mean: All channels"
    ],
}


@pytest.mark.parametrize("xp", EACH)
@pytest.mark.parametrize("values", RUNNING)
def test_a_wrong_update_of_the_running_statistics_is_named(xp, values):
    mine = defined(
        xp,
        f"""
def mine(running_mean, running_var, x, a):
    mean = xp.mean(x, axis=pooled(x))
    var = xp.mean((x - along(mean, x)) ** 2, axis=pooled(x))
    m = x[:, 0].reshape(-1).shape[0]
    unbiased = var * m / (m - 1)
    shortcut = (xp.mean(x**2, axis=pooled(x)) - mean**2) * m / (m - 1)
    return {values}
""",
    )
    assert says(check("running", mine), *RUNNING[values])


# What only a function in torch can get wrong.


def detached(what):
    """A forward pass that is right in its values."""

    def forward(x, gamma, beta, eps):
        mean = x.mean(dim=pooled(x), keepdim=True)
        var = ((x - mean) ** 2).mean(dim=pooled(x), keepdim=True)
        if "x" in what:
            x, mean, var = x.detach() + 0 * x, mean.detach(), var.detach()
        mean = mean.detach() if "mean" in what else mean
        var = var.detach() if "var" in what else var
        gamma = gamma.detach() if "gamma" in what else gamma
        return along(gamma, x) * (x - mean) / torch.sqrt(var + eps) + along(beta, x)

    return forward


@torch.no_grad()
def in_a_helper(x):
    mean = x.mean(axis=pooled(x), keepdims=True)
    return mean, ((x - mean) ** 2).mean(axis=pooled(x), keepdims=True)


def helped(x, gamma, beta, eps):  # runs with arrays too, and there would be no gradient to look at
    mean, var = in_a_helper(x)
    return along(gamma, x) * (x - mean) / (var + eps) ** 0.5 + along(beta, x)


@pytest.mark.parametrize(
    ("mine", "what"),
    [
        (detached(["mean", "var"]), "dx: The statistics are outside the gradient"),
        (helped, "dx: The statistics are outside the gradient"),
        (detached(["mean"]), "dx: The mean's term is missing"),
        (detached(["var"]), "dx: The variance's term is missing"),
        (detached(["x"]), "dx: All zero"),
        (detached(["gamma"]), "no gradient returns to gamma"),
        (torch.no_grad()(var_mean), "no gradient returns through it"),
    ],
)
def test_a_forward_pass_with_right_values_and_a_wrong_gradient_is_named(mine, what):
    assert says(check("forward", mine), "y is right, but", what)


def test_statistics_that_drag_the_graph_along_are_named():
    def running(running_mean, running_var, x, momentum):
        mean, var = torch.mean(x, dim=pooled(x)), torch.var(x, dim=pooled(x))
        return torch.lerp(running_mean, mean, momentum), torch.lerp(running_var, var, momentum)

    assert says(check("running", running), "hang on the graph")


def test_a_mode_read_from_the_grad_mode_is_named():
    def mine(x, gamma, beta, running_mean, running_var, eps):
        training = torch.is_grad_enabled()
        return F.batch_norm(x, running_mean.clone(), running_var.clone(), gamma, beta, training, 0.1, eps)

    assert says(check("inference", mine), "under no_grad is another")


def test_torchs_own_variance_is_the_unbiased_one():
    def mine(x, gamma, beta, eps):
        std = torch.sqrt(x.var(dim=pooled(x)) + eps)
        return along(gamma / std, x) * (x - along(x.mean(dim=pooled(x)), x)) + along(beta, x)

    assert says(check("forward", mine), "unbiased", "correction=0")


# The form of an answer.


@pytest.mark.parametrize("gap", [None, ..., lambda *_: None, lambda *_: ..., lambda *_: (..., ...)])
@pytest.mark.parametrize("name", _mistakes.FORMULAS)
def test_a_gap_is_no_error(name, gap):
    assert re.fullmatch("Not yet: Nothing (written|returned) yet.", repr(check(name, gap)))


def test_a_gap_that_raises_is_a_gap():
    def mine(*_):
        raise NotImplementedError

    assert repr(check("forward", mine)) == "Not yet: Nothing returned yet."


@pytest.mark.parametrize("xp", EACH)
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            "y.T if y.ndim == 2 else y",
            "expected shape (5, 3) (got (3, 5)). It is y, with its axes in another order.",
        ),
        ("y[0]", "expected shape (5, 3) (got (3,))"),
        ("y.reshape(-1)", "The numbers are those of y: reshape them."),
        ("xp.asarray(y, dtype=xp.float32)", "expected float64, as it came in (got float32)"),
        ("xp.asarray(y, dtype=xp.int64)", "expected float64, as it came in (got int64)"),
        ("(y, gamma)", "expected y and nothing else (got 2 in a tuple)."),
        ("(y,)", "expected y and nothing else (got 1 in a tuple)."),
        ("[[1.0], [1.0, 2.0]]", "expected an array"),
        ("'y'", "expected shape (5, 3) (got ())"),
        ("xp.asarray(xp.asarray(y, dtype=xp.float32), dtype=xp.float64)", "Right to a few digits only"),
        ("y + 1", "Off by a constant in each channel"),
        ("y * float('nan')", "not finite"),
        ("y * along(xp.asarray([1.0, 2.5, 1.0], dtype=xp.float64), y)", "Right in channel 0, 2 alone"),
        ("y ** 3 + x", "The numbers fit no mistake that is known here: expected ["),
        ("y if y.ndim == 2 else y ** 3", "Right for (N, C), not for (N, C, H, W)"),
    ],
)
def test_what_is_wrong_with_another_answer_is_described(xp, change, what):
    mine = defined(
        xp, f"def mine(x, gamma, beta, eps):\n    y = right(x, gamma, beta, eps)\n    return {change}\n"
    )
    mine.__globals__["right"] = two_passes(xp)
    assert says(check("forward", mine), what)


@pytest.mark.parametrize("xp", EACH)
def test_a_changed_input_is_named(xp):
    def mine(x, gamma, beta, eps):
        y = two_passes(xp)(x, gamma, beta, eps)
        x -= 1
        return y

    assert says(check("forward", mine), "x is changed in place")


def test_an_error_is_told_in_its_own_words_and_with_its_line():
    def mine(x, gamma, beta, eps):
        return x / undefined  # noqa: F821

    verdict = check("forward", mine)
    assert says(verdict, "NameError: name 'undefined' is not defined", "[in: return x / undefined")


@pytest.mark.parametrize("xp", EACH)
def test_an_error_of_broadcasting_gets_a_hint(xp):
    def mine(x, gamma, beta, eps):
        return gamma * (x - xp.mean(x, axis=1)) + beta

    assert says(
        check("forward", mine), "(5,3)" if xp is np else "size of tensor", "lines shapes up from the right"
    )


def test_what_fails_for_images_alone_is_said_to_be_right_for_tables():
    def mine(x, gamma, beta, eps):
        _, _ = x.shape
        return two_passes(np)(x, gamma, beta, eps)

    assert says(
        check("forward", mine),
        "Right for (N, C). But for (N, C, H, W): For x of shape (4, 3, 2, 3) your function raised ValueError",
    )


def test_a_single_example_must_pass_at_inference():
    def mine(x, *rest):
        if len(x) == 1:
            raise ValueError("a batch of one")
        return inference(np)(x, *rest)

    assert says(
        check("inference", mine), "Right for (N, C) and (N, C, H, W). But for (1, C, H, W)", "a batch of one"
    )


def test_a_tensor_in_the_notebook_does_not_make_a_numpy_function_torchs():
    space = {"var": torch.ones(3), "mean": torch.ones(3)}
    exec("def mine(x, gamma, beta, eps):\n    return gamma * x.mean(0).copy() + x.var()", space)
    assert not exercises._is_torch(space["mine"])


def test_what_only_warns_is_right():
    def mine(*inputs):
        warnings.warn("a mean of nothing", stacklevel=2)
        return numpy_var(*inputs)

    assert check("forward", mine)


def test_the_error_that_is_told_is_that_of_the_road_that_leads_further():
    def mine(x, gamma, beta, eps):  # dim is torch's word, so with an array it fails at once
        mean = x.mean(dim=0)
        return mean.reshape(7)

    assert says(check("forward", mine), "RuntimeError", "shape '[7]' is invalid")


def test_a_missing_argument_is_told():
    assert says(check("forward", lambda x: x), "TypeError", "positional argument")


def test_an_unknown_exercise_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"one of forward, backward, inference, running \(got 'back'\)"):
        check("back", numpy_var)


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match=r"expected a function \(got int\)"):
        check("forward", 3)


def test_a_verdict_is_a_truth_value_and_wraps_to_the_width_of_a_page():
    wrong, right = Verdict(False, "word " * 40), Verdict(True, "y.")
    assert right and not wrong
    assert repr(right) == "Right: y."
    assert max(map(len, repr(wrong).splitlines())) <= 82


@pytest.mark.parametrize("name", RIGHT)
def test_a_verdict_is_the_same_every_time(name):
    def mine(*inputs):
        found = RIGHT[name][0](*inputs)
        return tuple(np.asarray(v) ** 3 for v in found) if len(_mistakes.FORMULAS[name]) > 1 else found**3

    assert check(name, mine) == check(name, mine)
    assert not check(name, mine)


def test_a_numpy_answer_is_checked_without_torch():
    program = (
        "import sys; from bnlib.exercises import check; from bnlib import reference as r;"
        "check('forward', lambda *a: r.batch_norm_forward(*a)[0]) or sys.exit(1);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# The museum's mistakes that can be made in these four functions, and the test that plants each.
MUSEUM = {
    "mistake-detached": test_a_forward_pass_with_right_values_and_a_wrong_gradient_is_named,
    "mistake-cancellation": test_a_wrong_line_of_the_forward_pass_is_named,
    "mistake-epsilon": test_a_wrong_line_of_the_forward_pass_is_named,
    "mistake-biased-kept": test_a_wrong_update_of_the_running_statistics_is_named,
    "mistake-graph": test_statistics_that_drag_the_graph_along_are_named,
    "mistake-grad-mode": test_a_mode_read_from_the_grad_mode_is_named,
    "mistake-wrong-axis": test_a_wrong_line_of_the_forward_pass_is_named,
    "mistake-blind-check": test_a_forward_pass_with_right_values_and_a_wrong_gradient_is_named,
    "mistake-one-value": test_a_single_example_must_pass_at_inference,
    "mistake-forgot-eval": test_a_wrong_line_at_inference_is_named,
    "mistake-momentum": test_a_wrong_update_of_the_running_statistics_is_named,
    "mistake-folded-bias": test_a_wrong_line_at_inference_is_named,
}


@pytest.mark.parametrize("exhibit", MUSEUM)
def test_the_exhibits_that_are_recognized_stand_in_the_book(exhibit):
    book = Path(__file__).parents[1] / "book"
    assert any(f"({exhibit})=" in path.read_text(encoding="utf-8") for path in book.glob("*.ipynb"))
