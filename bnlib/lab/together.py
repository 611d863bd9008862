"""Many runs of one small network at once: batched matrices, and the backward pass written by hand."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bnlib.layers import pooled
from bnlib.reference import Statistics

from .models import PaperNetwork
from .training import minibatches

__all__ = ["Curves", "Run", "Shape", "Together", "train_together"]

# Each activation a = g(y), and dy from da and a; da is overwritten.
ACTIVATIONS = {
    "sigmoid": (torch.sigmoid, lambda da, a: da.mul_(a).addcmul_(da, a, value=-1)),  # da a (1 - a)
    "tanh": (torch.tanh, lambda da, a: da.addcmul_(da * a, a, value=-1)),  # da (1 - a^2)
    "relu": (torch.relu, lambda da, a: da.mul_(torch.sign(a))),  # da where a > 0
}


@dataclass(frozen=True)
class Shape:
    """What all runs have in common, so that their matrices can be stacked.

    Parameters
    ----------
    widths : sequence of int
        Of the input, every hidden layer, and the output.
    activation : {"sigmoid", "tanh", "relu"}
    norm : {None, "before", "after"}
        Where batch normalization stands: nowhere, or before or after the activation. Before it, the
        linear map has no bias, as in `PaperNetwork`; after it, it has one.
    batch_size : int
    momentum : float
        Weight of the new batch in the running statistics.
    eps : float

    Raises
    ------
    ValueError
        If one of these is out of its range.
    """

    widths: Sequence[int] = (784, 100, 100, 100, 10)
    activation: str = "sigmoid"
    norm: str | None = None
    batch_size: int = 60
    momentum: float = 0.1
    eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(
                f"expected positive widths of at least an input and an output (got {self.widths})"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"expected one of {', '.join(ACTIVATIONS)} (got {self.activation!r})")
        if self.norm not in (None, "before", "after"):
            raise ValueError(f'expected norm None, "before" or "after" (got {self.norm!r})')
        least = 1 if self.norm is None else 2
        if self.batch_size < least:
            raise ValueError(f"expected a batch size of at least {least} (got {self.batch_size})")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"expected a momentum between 0 and 1 (got {self.momentum})")
        if self.eps <= 0:
            raise ValueError(f"expected eps > 0 (got {self.eps})")


@dataclass(frozen=True)
class Run:
    """What one run has for itself.

    Parameters
    ----------
    learning_rate : float
    std : float
        Of the initial weights.
    seed : int
        Of the initial weights and of the order of the examples.
    weight_decay : float
        Of the weight matrices: it adds weight_decay W to their gradient. Biases are never decayed.
    weight_decay_norm : float
        The same of gamma and beta.

    Raises
    ------
    ValueError
        If the learning rate or std is not positive, or a weight decay is negative.
    """

    learning_rate: float = 0.1
    std: float = 0.1
    seed: int = 0
    weight_decay: float = 0.0
    weight_decay_norm: float = 0.0

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"expected a positive learning rate (got {self.learning_rate})")
        if not self.std > 0:
            raise ValueError(f"expected a positive standard deviation (got {self.std})")
        if not min(self.weight_decay, self.weight_decay_norm) >= 0:
            raise ValueError(f"expected weight decays of at least 0 (got {self})")


class Together:
    """R networks of one shape, trained step by step together by plain stochastic gradient descent.

    Parameters
    ----------
    shape : Shape
    runs : sequence of Run
        Each starts from the weights of ``PaperNetwork(std=run.std, seed=run.seed)``.
    dtype : torch.dtype

    Attributes
    ----------
    weights : list of (R, n_in, n_out)
        Of every layer: an example is a row, and goes through as x W.
    biases : list of (R, 1, n_out), or None where a layer has none
    gammas, betas, running_means, running_vars : list of (R, 1, n_out)
        Of every hidden layer; empty without a norm.

    Raises
    ------
    ValueError
        If there is no run.

    Notes
    -----
    One run costs little more than its matrix products: no autograd, few passes over memory, and R runs
    share the price of every call. Nothing is summed over runs, so one that diverges stays alone.
    """

    def __init__(self, shape: Shape, runs: Sequence[Run], dtype: torch.dtype = torch.float32) -> None:
        if not runs:
            raise ValueError("expected at least one run (got none)")
        self.shape, self.runs, self.dtype = shape, tuple(runs), dtype
        self.activation, self.activation_backward = ACTIVATIONS[shape.activation]
        R, (_, *hidden, outputs) = len(self.runs), shape.widths

        models = [PaperNetwork(widths=shape.widths, std=run.std, seed=run.seed) for run in self.runs]
        each = [[*(block.linear for block in model.hidden), model.output] for model in models]
        stacks = [
            torch.stack([linear.weight.detach() for linear in layer]).to(dtype)
            for layer in zip(*each, strict=True)
        ]
        # In memory the output's weights stay as (R, n_out, n_in): with so few columns that is much faster.
        self.weights = [W.mT.contiguous() for W in stacks[:-1]] + [stacks[-1].mT]

        def rows(value: float, widths: Sequence[int]) -> list[Tensor]:
            return [torch.full((R, 1, n), value, dtype=dtype) for n in widths]

        no_bias = shape.norm == "before"
        self.biases = ([None] * len(hidden) if no_bias else rows(0, hidden)) + rows(0, [outputs])
        normalized = hidden if shape.norm else []
        self.gammas, self.betas = rows(1, normalized), rows(0, normalized)
        self.running_means, self.running_vars = rows(0, normalized), rows(1, normalized)

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=dtype).view(R, 1, 1)

        self._learning_rates = column([run.learning_rate for run in self.runs])
        self._step_sizes = self._learning_rates / -shape.batch_size  # -lr / m: the loss is a mean
        self._keep = column([1 - run.learning_rate * run.weight_decay for run in self.runs])
        self._keep_norm = column([1 - run.learning_rate * run.weight_decay_norm for run in self.runs])
        self._decays = any(run.weight_decay for run in self.runs)
        self._decays_norm = any(run.weight_decay_norm for run in self.runs)
        self._minus_ones = torch.full((R, 1, shape.batch_size), -1, dtype=dtype)
        self._saved = [(None, None)] * len(normalized)  # x_hat and std, per norm
        self._last = []  # per layer its input x and the step dz of the last training step

    # The forward pass, once for training and inference: they differ in how they normalize.

    def _linear(self, k: int, x: Tensor) -> Tensor:
        W, b = self.weights[k], self.biases[k]
        return torch.bmm(x, W) if b is None else torch.baddbmm(b, x, W)

    def _forward(self, images: Tensor, normalize: Callable[[int, Tensor], Tensor]):
        """Scores, and of every layer its input x, of every hidden one the activation's y and a."""
        xs, ys, activations = [images], [], []
        for k in range(len(self.weights) - 1):
            y = self._linear(k, xs[k])  # (R, m, n)
            if self.shape.norm == "before":
                y = normalize(k, y)
            a = self.activation(y)
            xs.append(normalize(k, a) if self.shape.norm == "after" else a)
            ys.append(y)
            activations.append(a)
        # (W^T x^T)^T: in memory the classes come before the examples, which the softmax too does much faster.
        scores = torch.baddbmm(self.biases[-1].mT, self.weights[-1].mT, xs[-1].mT).mT
        return scores, xs, ys, activations

    def _normalize_batch(self, k: int, x: Tensor) -> Tensor:
        """Algorithm 1, and the running statistics move."""
        m, momentum = x.shape[1], self.shape.momentum
        mean = x.mean(dim=1, keepdim=True)
        centered = x - mean
        var = torch.mul(centered, centered).mean(dim=1, keepdim=True)
        std = (var + self.shape.eps).sqrt_()
        x_hat = centered.div_(std)
        self.running_means[k].lerp_(mean, momentum)
        self.running_vars[k].lerp_(var.mul_(m / (m - 1)), momentum)  # the unbiased one is kept
        self._saved[k] = x_hat, std
        return torch.addcmul(self.betas[k], self.gammas[k], x_hat)

    def _normalize_running(self, k: int, x: Tensor) -> Tensor:
        std = torch.sqrt(self.running_vars[k] + self.shape.eps)
        return torch.addcmul(self.betas[k], self.gammas[k], (x - self.running_means[k]) / std)

    def _norm_backward(self, k: int, dy: Tensor) -> Tensor:
        """The closed form of `bnlib.reference.batch_norm_backward`; gamma and beta take their step."""
        x_hat, std = self._saved[k]
        m = dy.shape[1]
        dgamma = torch.mul(dy, x_hat).sum(dim=1, keepdim=True)
        dbeta = dy.sum(dim=1, keepdim=True)
        dx = dy.sub_(dbeta / m).addcmul_(x_hat, dgamma, value=-1 / m).mul_(self.gammas[k] / std)
        for parameter, d in ((self.gammas[k], dgamma), (self.betas[k], dbeta)):
            if self._decays_norm:
                parameter.mul_(self._keep_norm)
            parameter.add_(d)
        return dx

    @torch.inference_mode()
    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one step of every run, each on its own mini-batch.

        Parameters
        ----------
        images : (R, m, d)
        labels : (R, m) of int64

        Returns
        -------
        (R,)
            The loss of each mini-batch before the step.

        Raises
        ------
        ValueError
            If the images or the labels have another shape.

        Notes
        -----
        Every gradient is linear in that of the scores. That one is multiplied by -lr at the start, and
        each gradient further down is at once the step that its parameter takes.
        """
        size = (len(self.runs), self.shape.batch_size)
        if images.shape != (*size, self.shape.widths[0]) or labels.shape != size:
            raise ValueError(
                f"expected images {(*size, self.shape.widths[0])} and labels {size} "
                f"(got {tuple(images.shape)} and {tuple(labels.shape)})"
            )
        scores, xs, _, activations = self._forward(images, self._normalize_batch)

        # The cross-entropy's gradient: softmax less one at the label.
        log_p = torch.log_softmax(scores.mT, dim=1)  # (R, 10, m)
        at_label = labels.unsqueeze(1)
        loss = log_p.gather(1, at_label).mean(dim=(1, 2)).neg_()
        d = log_p.exp_().scatter_add_(1, at_label, self._minus_ones).mul_(self._step_sizes).mT

        self._last = []
        for k in reversed(range(len(self.weights))):
            x, W, b = xs[k], self.weights[k], self.biases[k]
            dx = torch.bmm(d, W.mT) if k else None  # with the weights as they were
            if self._decays:
                W.mul_(self._keep)
            W.baddbmm_(x.mT, d)
            if b is not None:
                b.add_(d.sum(dim=1, keepdim=True))
            self._last.append((x, d))
            if k:
                d = self._activation_backward(k - 1, dx, activations[k - 1])
        self._last.reverse()
        return loss

    def _activation_backward(self, k: int, d: Tensor, a: Tensor) -> Tensor:
        if self.shape.norm == "after":
            d = self._norm_backward(k, d)
        d = self.activation_backward(d, a)
        return self._norm_backward(k, d) if self.shape.norm == "before" else d

    def _all_runs(self, images: Tensor) -> Tensor:
        return images.flatten(1).to(self.dtype).expand(len(self.runs), -1, -1)  # (R, N, d), not copied

    @torch.inference_mode()
    def scores(self, images: Tensor) -> Tensor:
        """Scores in eval mode: images (N, d) to (R, N, 10)."""
        return self._forward(self._all_runs(images), self._normalize_running)[0]

    def accuracy(self, images: Tensor, labels: Tensor, batch_size: int = 1000) -> Tensor:
        """The share of examples that each run classifies correctly, in eval mode.

        Parameters
        ----------
        images : (N, d)
        labels : (N,) of int64
        batch_size : int
            How many examples go through at once.

        Returns
        -------
        (R,) of float64
        """
        chunks = zip(images.split(batch_size), labels.split(batch_size), strict=True)
        correct = sum((self.scores(x).argmax(dim=2) == y).sum(dim=1) for x, y in chunks)
        return correct.double() / len(labels)

    @torch.inference_mode()
    def inputs(self, images: Tensor) -> list[Tensor]:
        """What every hidden layer's activation receives in eval mode: images (N, d) to (R, N, width) each."""
        return self._forward(self._all_runs(images), self._normalize_running)[2]

    @torch.inference_mode()
    def gradient_norms(self) -> Tensor:
        """The Frobenius norm of the loss's gradient by every weight matrix in the last step, without decay.

        Returns
        -------
        (R, layers)
            NaN before the first step.
        """
        if not self._last:
            return torch.full((len(self.runs), len(self.weights)), torch.nan, dtype=self.dtype)
        # Each dz was multiplied by -lr.
        norms = [torch.linalg.matrix_norm(torch.bmm(x.mT, d)) for x, d in self._last]
        return torch.stack(norms, dim=1) / self._learning_rates[:, 0]

    @torch.inference_mode()
    def recompute(self, images: Tensor, batch: int) -> None:
        """Replace the running statistics by those of the population, with the weights as they now are.

        Parameters
        ----------
        images : (N, d)
            Training images.
        batch : int
            How many go through at once, normalized by their own statistics as in training.

        Raises
        ------
        ValueError
            If there is no norm, or no image, or a batch of fewer than two.

        Notes
        -----
        As `bnlib.layers.recompute_statistics` with `bnlib.layers.pooled`.
        """
        if not self.gammas:
            raise ValueError("expected networks with batch normalization (got none)")
        chunks = images.split(batch) if batch > 0 else ()
        if not len(images) or not chunks or min(map(len, chunks)) < 2:
            raise ValueError(f"expected batches of at least two images (got {len(images)} by {batch})")
        seen: list[list[Statistics]] = [[] for _ in self.gammas]

        def normalize(k: int, x: Tensor) -> Tensor:
            mean = x.mean(dim=1, keepdim=True)
            centered = x - mean
            var = torch.mul(centered, centered).mean(dim=1, keepdim=True)
            seen[k].append(Statistics(mean.flatten(), var.flatten(), x.shape[1]))  # a channel a run
            return torch.addcmul(self.betas[k], self.gammas[k], centered / torch.sqrt(var + self.shape.eps))

        for chunk in chunks:
            self._forward(self._all_runs(chunk), normalize)
        for k, batches in enumerate(seen):
            mean, var = pooled(batches)
            self.running_means[k].copy_(mean.view_as(self.running_means[k]))
            self.running_vars[k].copy_(var.view_as(self.running_vars[k]))

    def _tensors(self) -> dict[str, Tensor]:
        kinds = ("weights", "biases", "gammas", "betas", "running_means", "running_vars")
        return {
            f"{kind}.{k}": value
            for kind in kinds
            for k, value in enumerate(getattr(self, kind))
            if value is not None
        }

    def state(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and running statistics, by name ("weights.0", ...)."""
        return {name: value.numpy().copy() for name, value in self._tensors().items()}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave.

        Parameters
        ----------
        state : mapping of str to ndarray
            Other names in it are ignored.

        Raises
        ------
        ValueError
            If something is missing, or has another shape or dtype. Nothing is then taken over.
        """
        tensors = self._tensors()
        for name, value in tensors.items():
            expected = (tuple(value.shape), value.numpy().dtype)
            found = (state[name].shape, state[name].dtype) if name in state else "nothing"
            if found != expected:
                raise ValueError(f"expected {name} of shape and dtype {expected} (got {found})")
        for name, value in tensors.items():
            value.copy_(torch.from_numpy(np.asarray(state[name])))


@dataclass
class Curves:
    """What R runs left behind, as arrays over the T steps at which they were looked at."""

    steps: np.ndarray  # (T,), how many steps had been taken at each look
    accuracy: np.ndarray  # (R, T), share of the test images classified correctly, at inference
    loss: np.ndarray  # (R, T), mean training loss since the look before; NaN at step 0
    probes: dict[str, np.ndarray]  # name -> (R, T, ...)


def batches_together(
    seeds: Sequence[int], images: Tensor, labels: Tensor, batch_size: int, start: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Mini-batches for ever, for every seed in its own order; runs that share a seed share the memory.

    Parameters
    ----------
    seeds : sequence of int
        Of every run.
    images : (N, d)
    labels : (N,)
    batch_size : int
    start : int
        How many mini-batches of each order to pass over.

    Yields
    ------
    images : (R, batch_size, d)
    labels : (R, batch_size)
    """
    distinct = list(dict.fromkeys(seeds))
    orders = [minibatches(len(images), batch_size, torch.Generator().manual_seed(seed)) for seed in distinct]
    which = torch.tensor([distinct.index(seed) for seed in seeds])
    for indices in islice(zip(*orders, strict=True), start, None):
        examples = torch.cat(indices)
        x = images.index_select(0, examples).view(len(distinct), batch_size, -1)
        y = labels.index_select(0, examples).view(len(distinct), batch_size)
        if len(distinct) == 1:
            yield x.expand(len(seeds), -1, -1), y.expand(len(seeds), -1)
        elif len(distinct) < len(seeds):
            yield x.index_select(0, which), y.index_select(0, which)
        else:
            yield x, y


def train_together(
    shape: Shape,
    runs: Sequence[Run],
    train_set: tuple[Tensor, Tensor],
    test_set: tuple[Tensor, Tensor],
    *,
    steps: int,
    look_steps: Sequence[int],
    probe: Callable[[Together], Mapping[str, np.ndarray]] | None = None,
    state: Mapping[str, np.ndarray] | None = None,
    checkpoint: Callable[[dict[str, np.ndarray]], None] | None = None,
    checkpoint_seconds: float = 30,
    dtype: torch.dtype = torch.float32,
    description: str = "training",
    progress: bool = True,
) -> Curves:
    """Train many runs together, with the same trajectory that `train` gives to each alone.

    Parameters
    ----------
    shape : Shape
    runs : sequence of Run
    train_set, test_set : (x, y)
        Images (N, ...) and labels (N,) of int64.
    steps : int
    look_steps : sequence of int
        After which steps to look at the test set, ascending; 0 is before the first.
    probe : callable, optional
        Called at every look: the networks -> arrays (R, ...) by name. It must leave the networks alone.
    state : mapping of str to ndarray, optional
        What `checkpoint` was last given: training goes on from there, and ends as if never interrupted.
    checkpoint : callable, optional
        Called now and then with all that is needed to go on.
    checkpoint_seconds : float
        Between two calls of it; at 0 it is called after every step.
    dtype : torch.dtype
    description : str
        Of the progress bar. It goes when the run ends; TQDM_DISABLE=1 turns it off.
    progress : bool
        Whether to show the bar.

    Returns
    -------
    Curves

    Raises
    ------
    ValueError
        If steps is not positive, look_steps do not ascend from 0 to steps at most, the batch size does
        not fit the data, or the state belongs to another training.
    """
    looks = [int(step) for step in look_steps]
    if steps < 1:
        raise ValueError(f"expected positive steps (got {steps})")
    if looks != sorted(set(looks)) or (looks and not 0 <= looks[0] <= looks[-1] <= steps):
        raise ValueError(f"expected look_steps that ascend from 0 to {steps} at most (got {looks})")
    images, labels = train_set[0].flatten(1).to(dtype), train_set[1]
    test_images, test_labels = test_set[0].flatten(1).to(dtype), test_set[1]
    together = Together(shape, runs, dtype)

    done, loss_sum = 0, torch.zeros(len(together.runs), dtype=torch.float64)
    looked: list[dict[str, np.ndarray]] = []  # per look: arrays (R, ...) by name

    def look(step: int) -> None:
        nonlocal loss_sum
        since = step - (looks[len(looked) - 1] if looked else 0)
        values = {"accuracy": together.accuracy(test_images, test_labels).numpy()}
        values["loss"] = loss_sum.numpy() / since if since else np.full(len(together.runs), np.nan)
        for name, value in (probe(together) if probe else {}).items():
            values[f"probe.{name}"] = np.asarray(value).copy()  # the networks go on
        looked.append(values)
        loss_sum = torch.zeros_like(loss_sum)

    def collected() -> dict[str, np.ndarray]:
        return {name: np.stack([v[name] for v in looked], axis=1) for name in (looked[0] if looked else ())}

    def everything() -> dict[str, np.ndarray]:
        return {
            "step": np.array(done),
            "looks": np.array(looks[: len(looked)], dtype=np.int64),
            "loss_sum": loss_sum.numpy().copy(),
            **together.state(),
            **collected(),
        }

    if state is not None:
        done, past = int(state["step"]), state["looks"].tolist()
        if done > steps or past != [step for step in looks if step <= done]:
            raise ValueError(f"expected the state of this training (got step {done}, looks at {past})")
        together.load(state)
        loss_sum = torch.tensor(state["loss_sum"])
        names = [name for name in state if name in ("accuracy", "loss") or name.startswith("probe.")]
        looked = [{name: state[name][:, t] for name in names} for t in range(len(past))]
    elif looks and looks[0] == 0:
        look(0)

    batches = batches_together([run.seed for run in together.runs], images, labels, shape.batch_size, done)
    remaining = range(done + 1, steps + 1)
    if progress:
        remaining = tqdm(remaining, desc=description, initial=done, total=steps, leave=False)
    saved = time.monotonic()
    due = set(looks)
    for done in remaining:
        loss_sum += together.step(*next(batches))
        if done in due:
            look(done)
        if checkpoint and time.monotonic() - saved >= checkpoint_seconds:
            checkpoint(everything())
            saved = time.monotonic()

    curves = collected()
    none = np.empty((len(together.runs), 0))
    return Curves(
        np.array(looks),
        curves.pop("accuracy", none),
        curves.pop("loss", none),
        {name.removeprefix("probe."): values for name, values in curves.items()},
    )
