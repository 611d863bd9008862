"""Write it yourself: checks that say what is wrong, and not only that something is."""

import textwrap
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from inspect import getclosurevars, ismodule
from itertools import combinations, permutations
from types import CodeType, FunctionType

import numpy as np

from bnlib import reference
from bnlib._mistakes import FORMULAS

__all__ = ["Verdict", "check"]


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a check found: true if all is right, and printed as a sentence.

    Attributes
    ----------
    right : bool
    text : str
        What was compared, or what is wrong.
    """

    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return textwrap.fill(f"{'Right' if self.right else 'Not yet'}: {self.text}", 82)


def check(name: str, mine: Callable) -> Verdict:
    """Say whether a function that the reader wrote is right, and if not, what is wrong.

    The functions, called by position, with arrays or, if they are written in torch, with tensors::

        "forward"   mine(x, gamma, beta, eps) -> y
        "backward"  mine(dy, x, gamma, eps) -> dx, dgamma, dbeta
        "inference" mine(x, gamma, beta, running_mean, running_var, eps) -> y
        "running"   mine(running_mean, running_var, x, momentum) -> mean, variance

    `x` and `dy` are (N, C) or (N, C, H, W), the vectors (C,); `momentum` is the weight of the new batch.
    The answer is compared with the right one, then with those of the known mistakes, then with those of every
    two of them together. What fits none is described by what it is off by. The gradient of a `forward` in
    torch is looked at, too.

    Parameters
    ----------
    name : str
    mine : callable
        Or None or an ellipsis, where nothing is written yet.

    Returns
    -------
    Verdict
        Also of what is missing, and of what raises an error.

    Raises
    ------
    ValueError
        If there is no exercise of this name.
    TypeError
        If `mine` is neither a function nor a gap.
    """
    if name not in FORMULAS:
        raise ValueError(f"expected one of {', '.join(FORMULAS)} (got {name!r})")
    if not callable(mine) and not _is_gap(mine):
        raise TypeError(f"expected a function (got {type(mine).__name__})")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the verdict speaks of what is not finite
        try:
            return Verdict(True, _examine(name, mine))
        except _WrongError as wrong:
            return Verdict(False, str(wrong))


class _WrongError(Exception):
    """Its message is what is wrong."""


_ARGUMENTS = {
    "forward": ("x", "gamma", "beta", "eps"),
    "backward": ("dy", "x", "gamma", "eps"),
    "inference": ("x", "gamma", "beta", "running_mean", "running_var", "eps"),
    "running": ("running_mean", "running_var", "x", "momentum"),
}


def _right(name, data) -> dict:
    """The right answer, by output."""
    x, gamma, beta, eps, mean, var, momentum = (
        data[key] for key in ("x", "gamma", "beta", "eps", "running_mean", "running_var", "momentum")
    )
    y, saved = reference.batch_norm_forward(x, gamma, beta, eps)
    if name == "forward":
        values = (y,)
    elif name == "backward":
        values = reference.batch_norm_backward(data["dy"], saved)
    elif name == "inference":
        values = (reference.inference_batch_norm(x, gamma, beta, mean, var, eps),)
    else:
        new = saved.statistics.mean, reference.unbiased_variance(saved.statistics)
        values = [reference.update_running(*pair, momentum) for pair in zip((mean, var), new, strict=True)]
    return dict(zip(FORMULAS[name], values, strict=True))


def _data(*shape, mean=5.0, dtype=np.float64) -> dict:
    """Inconvenient numbers: x off center, gamma not 1, beta not 0, dy at random, a large eps.

    The last axis of an image is as long as there are channels: a vector lined up with the wrong one raises no
    error, and can be recognized.
    """
    rng = np.random.default_rng(len(shape))
    channels = shape[1]
    arrays = {
        "x": mean + rng.normal(size=shape) * 1.5,
        "dy": rng.normal(0.5, 1, shape),
        "gamma": rng.uniform(1.5, 3, channels) * (1, -1, 1),
        "beta": rng.uniform(1, 2, channels),
        "running_mean": rng.normal(4, 1, channels),
        "running_var": rng.uniform(2, 4, channels),
    }
    return {key: a.astype(dtype) for key, a in arrays.items()} | {"eps": 0.3, "momentum": 0.3}


def _examine(name, mine) -> str:
    cases = {"(N, C)": _data(5, 3), "(N, C, H, W)": _data(4, 3, 2, 3)}
    if name == "inference":
        cases["(1, C, H, W)"] = _data(1, 3, 2, 3)  # an example alone
    tensors = _is_torch(mine) or not _takes_arrays(name, mine, cases["(N, C)"])
    answers, rights, later = [], [], None
    for label, data in cases.items():
        try:
            answers.append(_answer(name, mine, data, tensors))
            rights.append(_right(name, data))
        except _WrongError as wrong:
            if not answers:
                raise
            later = f"Right for {' and '.join(list(cases)[: len(answers)])}. But for {label}: {wrong}"
            break
    if tensors and name != "backward":  # which may well use autograd itself
        _examine_grad_mode(name, mine, cases, answers)
    _compare(name, list(cases.values())[: len(answers)], answers, rights)
    if later:
        raise _WrongError(later)
    if name != "inference":  # where nothing is squared
        _examine_far(name, mine, tensors)
    graph = _examine_graph(name, mine, list(cases.values())) if tensors else ""
    return f"{', '.join(_right(name, data))} for {', '.join(cases)}{graph}."


def _examine_far(name, mine, tensors) -> None:
    far = _data(32, 3, mean=10_000.0, dtype=np.float32)
    exact = {key: v if isinstance(v, float) else v.astype(np.float64) for key, v in far.items()}
    answer, right = _answer(name, mine, far, tensors, dtypes=("float32", "float64")), _right(name, exact)
    for output in right:
        if not _close([answer[output]], [right[output]], 0.05):
            raise _WrongError(
                f"{output}: Right in float64. In float32, around 10,000, the variance loses its digits: "
                "subtract the mean before you square. E[x^2] - E[x]^2 is a small difference of large numbers."
            )


# Calling the reader's function.


def _is_gap(value) -> bool:
    return value is None or value is ...


def _inputs(name, data, tensors, **options) -> dict:
    """Copies: the reader's function may do with them what it likes."""
    given = {key: np.copy(data[key]) if np.ndim(data[key]) else data[key] for key in _ARGUMENTS[name]}
    if tensors:
        import torch

        given = {k: torch.tensor(v, **options) if np.ndim(v) else v for k, v in given.items()}
    return given


def _call(mine, inputs):
    if _is_gap(mine):
        raise _WrongError("Nothing written yet.")
    try:
        returned = mine(*inputs.values())
    except NotImplementedError:
        returned = None
    except Exception as error:
        raise _WrongError(_told(error, mine, inputs["x"])) from error
    if any(_is_gap(v) for v in (returned if isinstance(returned, tuple | list) else (returned,))):
        raise _WrongError("Nothing returned yet.")
    return returned


def _told(error, mine, x) -> str:
    """An error of the reader's function, in its own words, and the line where it came up."""
    file = getattr(getattr(mine, "__code__", None), "co_filename", None)
    lines = [f.line for f in traceback.extract_tb(error.__traceback__) if f.filename == file and f.line]
    message = " ".join(str(error).split())
    told = f"For x of shape {tuple(x.shape)} your function raised {type(error).__name__}: {message}"
    if lines:
        told += f" [in: {lines[-1]}]"
    if "broadcast" in message or "size of tensor" in message:
        told += (
            " Hint: broadcasting lines shapes up from the right, and the channels are axis 1. Give a vector "
            "of C numbers the shape (1, C, 1, 1), and pool every axis but 1."
        )
    return told


def _array(value):
    try:
        return np.asarray(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError) as error:
        raise _WrongError(f"expected an array (got a {type(value).__name__} that is none).") from error


def _answer(name, mine, data, tensors, dtypes=("float64",)) -> dict:
    """What the reader's function returns, by output, if it has the right form."""
    inputs, right = _inputs(name, data, tensors), _right(name, data)
    returned = _call(mine, inputs)
    for key, v in inputs.items():
        if not np.array_equal(_array(v), data[key]):
            raise _WrongError(
                f"{key} is changed in place. Whoever called the function still needs it: make a new array."
            )
    values = returned if isinstance(returned, tuple | list) and len(right) > 1 else (returned,)
    if len(values) != len(right) or isinstance(values[0], tuple):
        kind = type(returned).__name__
        came = f"{len(returned)} in a {kind}" if isinstance(returned, tuple | list) else f"one {kind}"
        raise _WrongError(f"expected {', '.join(right)} and nothing else (got {came}).")
    answer = dict(zip(right, map(_array, values), strict=True))
    for output, value in answer.items():
        if value.shape != right[output].shape:
            hint = _shape_hint(value, right)
            raise _WrongError(f"{output}: expected shape {right[output].shape} (got {value.shape}).{hint}")
        if value.dtype.name not in dtypes:
            raise _WrongError(f"{output}: expected {dtypes[0]}, as it came in (got {value.dtype.name}).")
    return answer


def _shape_hint(value, right) -> str:
    for output, r in right.items():
        turned = (value.transpose(axes) for axes in permutations(range(value.ndim)))
        if any(_close([t], [r]) for t in turned):
            return f" It is {output}, {'with its axes' if r.ndim > 1 else 'but'} in another order."
        if value.size == r.size and _close([value.ravel()], [r.ravel()]):
            return f" The numbers are those of {output}: reshape them."
    return " Return them in this order: " + ", ".join(right) + "." if len(right) > 1 else ""


def _is_torch(function, depth=3) -> bool:
    """Whether the code of a function, or of one that it calls, is written in torch."""
    if not isinstance(function, FunctionType) or depth == 0:
        return False
    words, codes = {str(a) for a in function.__annotations__.values()}, [function.__code__]
    for code in codes:  # grows by the functions inside
        words |= {*code.co_names}
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]
    known = [function.__globals__.get(word) for word in words]
    known = [v for v in (*known, *getclosurevars(function).nonlocals.values()) if callable(v) or ismodule(v)]
    origins = [str(getattr(v, at, "")) for v in known for at in ("__name__", "__module__")]
    return (
        any(word in ("torch", "detach") or "Tensor" in word for word in words)
        or any(origin.partition(".")[0] == "torch" for origin in origins)
        or any(_is_torch(v, depth - 1) for v in known)
    )


def _takes_arrays(name, mine, data) -> bool:
    """Whether the function runs with arrays, or at least comes no further with tensors."""
    try:
        mine(*_inputs(name, data, tensors=False).values())
    except (TypeError, AttributeError):
        try:
            mine(*_inputs(name, data, tensors=True).values())
        except (TypeError, AttributeError):
            return True
        except Exception:
            return False  # but they came further
        return False
    except Exception:
        return True
    return True


# Comparing its answers.


def _close(mine, right, tolerance=1e-9) -> bool:
    pairs = zip(mine, right, strict=True)
    return all(
        a.shape == b.shape and np.allclose(a, b, tolerance, tolerance, equal_nan=True) for a, b in pairs
    )


def _compare(name, cases, answers, rights) -> None:
    said = {}
    for output in rights[0]:
        mine, right = ([a[output] for a in side] for side in (answers, rights))
        if not _close(mine, right):
            said.setdefault(_diagnose(name, output, cases, mine, rights), []).append(output)
    if said:
        fine = [o for o in rights[0] if not any(o in outputs for outputs in said.values())]
        wrong = " ".join(f"{', '.join(outputs)}: {what}" for what, outputs in said.items())
        dense = all(_close([answers[0][o]], [rights[0][o]]) for o in rights[0])
        wrong = ("Right for (N, C), not for (N, C, H, W). " if dense else "") + wrong
        raise _WrongError(wrong + (f" ({', '.join(fine)}: right.)" if fine else ""))


def _diagnose(name, output, cases, mine, rights) -> str:
    for other in rights[0].keys() - {output}:
        if _close(mine, [r[other] for r in rights]):
            return f"This is {other}."
    formula, mistakes = FORMULAS[name][output]
    for sentence, steps in _one_or_two(mistakes):
        try:
            wrong = [formula(*(data[key] for key in _ARGUMENTS[name]), **steps) for data in cases]
        except ValueError:  # two mistakes whose shapes do not fit
            continue
        if _close(mine, wrong):
            return sentence
    return _residue(cases, mine, [r[output] for r in rights])


def _one_or_two(mistakes):
    yield from mistakes.items()
    for (first, a), (second, b) in combinations(mistakes.items(), 2):
        if not a.keys() & b.keys():
            yield f"Two things. {first} And: {second}", a | b


def _residue(cases, mine, right) -> str:
    """What a wrong answer that fits no known mistake is off by."""
    if _close(mine[:1], right[:1]):
        return "Which axes are pooled, and to which do the vectors belong?"
    a, b = (np.concatenate([v.ravel() for v in side]) for side in (mine, right))
    if not np.isfinite(a).all():
        return "There are numbers that are not finite: a division by zero, or the root of a negative number?"
    if not a.any():
        return "All zero."
    if np.allclose(a, b, 1e-4, 1e-4):
        return "Right to a few digits only. Is something computed in float32, or a constant rounded?"
    factor = a @ b / (b @ b)
    if np.allclose(a, factor * b):
        return f"Off by a factor: {factor:.4g} times what it should be."
    off = [u - v for u, v in zip(mine, right, strict=True)]
    channel = [np.moveaxis(d, min(1, d.ndim - 1), 0).reshape(d.shape[d.ndim > 1], -1) for d in off]
    if all(c.shape[1] > 1 and np.allclose(c, c[:, :1]) for c in channel):
        return "Off by a constant in each channel. Is something added that should not be, or left out?"
    fine = [c for c in range(3) if all(np.allclose(d[c], 0) for d in channel)]
    if fine:
        return f"Right in channel {', '.join(map(str, fine))} alone. What is different in the others?"
    ours, theirs = (np.round(v[0].reshape(len(v[0]), -1)[:3, 0], 4).tolist() for v in (right, mine))
    return f"The numbers fit no mistake that is known here: expected {ours} at the start (got {theirs})."


# What only a tensor can get wrong.


def _examine_grad_mode(name, mine, cases, answers) -> None:
    import torch

    with torch.no_grad():
        for data, answer in zip(cases.values(), answers, strict=False):
            quiet = _answer(name, mine, data, tensors=True)
            if not _close([*quiet.values()], [*answer.values()]):
                raise _WrongError(
                    "The answer under no_grad is another. Whether gradients are recorded does not say which "
                    "statistics to take."
                )


def _examine_graph(name, mine, cases) -> str:
    import torch

    if name == "running":
        new = _call(mine, _inputs(name, cases[0], tensors=True, requires_grad=True))
        if any(getattr(v, "requires_grad", False) for v in new):
            raise _WrongError(
                "The numbers are right, but they still hang on the graph of x, and would drag it from step "
                "to step. Keep x.detach(), or compute under no_grad."
            )
        return ", outside of the graph"
    if name != "forward":
        return ""
    gradients = []
    for data in cases:
        inputs = _inputs(name, data, tensors=True, requires_grad=True)
        y, leaves = _call(mine, inputs), [v for v in inputs.values() if hasattr(v, "detach")]
        if not getattr(y, "requires_grad", False):
            raise _WrongError("y is right, but no gradient returns through it. Is all of it detached?")
        try:
            found = torch.autograd.grad(y, leaves, torch.tensor(data["dy"]), allow_unused=True)
        except RuntimeError as error:
            raise _WrongError(f"y is right, but has no gradient: {error}") from error
        for key, g in zip(inputs, found, strict=False):
            if g is None:
                raise _WrongError(f"y is right, but no gradient returns to {key}. Is it detached?")
        gradients.append(dict(zip(FORMULAS["backward"], map(_array, found), strict=True)))
    try:
        _compare("backward", cases, gradients, [_right("backward", data) for data in cases])
    except _WrongError as wrong:
        raise _WrongError(f"y is right, but the gradient through it is not. {wrong}") from wrong
    return ", and so is the gradient through it"
