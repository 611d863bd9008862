"""The four functions of the exercises, in steps, and what people put in place of a step.

A mistake is the right formula with a step replaced: a sentence, and the parameters that make it wrong. The
right answers are those of `bnlib.reference`; a test holds the formulas against them.
"""

import numpy as np

from bnlib.reference import per_channel, statistic_axes

# The formulas. What can be replaced is a parameter. Statistics keep their axes, so that they line up with x.


def mean_of(v, axes):
    return np.mean(v, axis=axes, keepdims=True)


def sum_of(v, axes):
    return np.sum(v, axis=axes, keepdims=True)


def correction(v, axes):
    m = np.prod([v.shape[axis] for axis in axes])
    return m / (m - 1)


def unbiased(v, axes):
    return mean_of(v, axes) * correction(v, axes)


def root_of(var, eps):
    return np.sqrt(var + eps)


def centered(x, mean, s, gamma):
    return x - mean


def both(a, b):
    return a, b


def statistics(x, *, axes=statistic_axes, mean=mean_of, var=mean_of):
    mu = mean(x, axes(x))
    return mu, var((x - mu) ** 2, axes(x))


def kept(x, running_mean, running_var):
    return per_channel(running_mean, x), per_channel(running_var, x)


def transform(x, gamma, beta, mean, var, eps, *, root=root_of, center=centered, affine=both):
    gamma, beta, s = per_channel(gamma, x), per_channel(beta, x), root(var, eps)
    scale, shift = affine(gamma, beta)
    return scale * center(x, mean, s, gamma) / s + shift


def forward(x, gamma, beta, eps, *, axes=statistic_axes, mean=mean_of, var=mean_of, line_up=both, **steps):
    mean, var = line_up(*statistics(x, axes=axes, mean=mean, var=var))
    return transform(x, gamma, beta, mean, var, eps, **steps)


def inference(x, gamma, beta, running_mean, running_var, eps, *, source=kept, **steps):
    return transform(x, gamma, beta, *source(x, running_mean, running_var), eps, **steps)


def normalized(x, eps, *, root=root_of, center=centered, **steps):
    mean, var = statistics(x, **steps)
    s = root(var, eps)
    return center(x, mean, s, 1) / s, s


def backward_dx(dy, x, gamma, eps, *, terms=(1, 1), along=both, scale=np.divide, average=mean_of, **steps):
    x_hat, s = normalized(x, eps, **steps)
    axes = steps.get("axes", statistic_axes)(x)
    mean_term, var_term = average(dy, axes), along(x_hat, s)[0] * average(dy * x_hat, axes)
    return scale(per_channel(gamma, x), s) * (dy - terms[0] * mean_term - terms[1] * var_term)


def backward_dgamma(dy, x, gamma, eps, *, total=np.sum, factor=np.ones_like, **steps):
    x_hat, _ = normalized(x, eps, **steps)
    return total(dy * x_hat * factor(per_channel(gamma, x)), axis=statistic_axes(x))


def backward_dbeta(dy, x, gamma, eps, *, total=np.sum, factor=np.ones_like):
    return total(dy * factor(per_channel(gamma, x)), axis=statistic_axes(x))


def shares(momentum):
    return 1 - momentum, momentum


def running(old, new, weights):
    return weights[0] * old + weights[1] * np.ravel(new)


def new_mean(running_mean, running_var, x, momentum, *, weights=shares, **steps):
    return running(running_mean, statistics(x, **steps)[0], weights(momentum))


def new_var(
    running_mean, running_var, x, momentum, *, weights=shares, keep=np.asarray, var=unbiased, **steps
):
    return running(running_var, keep(statistics(x, var=var, **steps)[1]), weights(momentum))


# The mistakes, by the step that they replace: sentence -> {step: what stands in its place}.


def instead_of(step, mistakes):
    return {sentence: {step: replacement} for sentence, replacement in mistakes.items()}


LAST = "lined up with the last axis, by broadcasting. In (N, C, H, W) axis 1 is meant: reshape(1, -1, 1, 1)."
POSITIONS = "m counts the examples alone. In (N, C, H, W) every position is a value, too: m = N H W."

# fmt: off
AXES = instead_of("axes", {
    "The statistics are over the batch alone, one for each position. Pool the positions, too: axes 0, 2, 3.":
        lambda x: (0,),
    "The last axis is taken for the channels. In (N, C, H, W) they are axis 1: pool all but that one.":
        lambda x: (*range(x.ndim - 1),),
    "The wrong axis: each example has statistics of its own, as in layer normalization. Pool all but axis 1.":
        lambda x: (*range(1, x.ndim),),
    "The wrong axis: the statistics are over axis 1, the channels. That is the one axis not to pool.":
        lambda x: (1,),
    "All channels share one mean and one variance. Each has its own: pool all axes but axis 1.":
        lambda x: (*range(x.ndim),),
    "The statistics are over the positions alone, as in instance normalization. Pool the batch, too: axis 0.":
        lambda x: (*range(2, x.ndim),),
})
SHARED = {s: steps for i, (s, steps) in enumerate(AXES.items()) if i in (1, 4)}
MEAN = instead_of("mean", {"The mean is a sum: 1/m is missing.": sum_of})
VAR = instead_of("var", {"The variance is a sum of squares: 1/m is missing.": sum_of})
BIAS = instead_of("var", {
    "The variance is the unbiased one, over m - 1. A batch is normalized by the biased one, over m. "
    "(torch.var and torch.std divide by m - 1 unless they are told correction=0.)": unbiased,
})
ROOT = instead_of("root", {
    "eps is outside the root: sqrt(var) + eps. It belongs inside, sqrt(var + eps), where it also keeps "
    "the gradient of a constant channel finite.": lambda var, eps: np.sqrt(var) + eps,
    "eps is left out.": lambda var, eps: np.sqrt(var),
    "eps is 1e-5 whatever was given.": lambda var, eps: np.sqrt(var + 1e-5),
    "The root is missing: the divisor is var + eps.": np.add,
    "The standard deviation stands where the variance belongs, under the root.":
        lambda var, eps: np.sqrt(np.sqrt(var) + eps),
    "The division by sqrt(var + eps) is missing.": lambda var, eps: np.ones_like(var),
})
CENTER = instead_of("center", {"The mean is not subtracted from x.": lambda x, mean, s, gamma: x})
UNSCALED = instead_of("center", {
    "The mean is subtracted unscaled: outside of the bracket it is -gamma mean / sqrt(var + eps).":
        lambda x, mean, s, gamma: x - mean * s / gamma,
})
AFFINE = instead_of("affine", {
    "gamma is forgotten.": lambda gamma, beta: (1, beta),
    "beta is forgotten.": lambda gamma, beta: (gamma, 0),
    "gamma and beta are forgotten.": lambda gamma, beta: (1, 0),
    "gamma and beta are swapped.": lambda gamma, beta: (beta, gamma),
    "beta is multiplied by gamma: it is gamma x_hat + beta.": lambda gamma, beta: (gamma, gamma * beta),
    "gamma and beta are " + LAST: lambda gamma, beta: (gamma.ravel(), beta.ravel()),
})
LINE_UP = instead_of("line_up", {
    "mean and variance are " + LAST: lambda mean, var: (mean.ravel(), var.ravel()),
})
SOURCE = instead_of("source", {
    "Batch statistics at inference: an answer depends on its neighbors. Take running_mean and running_var.":
        lambda x, mean, var: statistics(x),
    "The mean is the batch's. At inference it is running_mean.":
        lambda x, mean, var: (statistics(x)[0], kept(x, mean, var)[1]),
    "The variance is the batch's. At inference it is running_var.":
        lambda x, mean, var: (kept(x, mean, var)[0], statistics(x)[1]),
    "running_mean and running_var are swapped.": lambda x, mean, var: kept(x, var, mean),
    "running_mean and running_var are " + LAST: lambda x, mean, var: (mean, var),
    "running_var is corrected by m / (m - 1). That was done when it was kept; here it serves as it is.":
        lambda x, mean, var: kept(x, mean, var * correction(x, statistic_axes(x))),
})
TERMS = instead_of("terms", {
    "The mean's term is missing: the mean depends on x, and is taken for a constant.": (0, 1),
    "The variance's term is missing: the variance depends on x, and is taken for a constant.": (1, 0),
    "The statistics are outside the gradient: mean and variance are taken for constants.": (0, 0),
    "The sign of the mean's term is wrong.": (-1, 1),
    "The sign of the variance's term is wrong: the power -1/2 brings a minus.": (1, -1),
    "The variance's term lacks the factor -1/2 that the power -1/2 brings.": (1, -2),
    "The variance's term is twice what it should be: the power -1/2 brings a half.": (1, 2),
    "The variance's term is half of what it should be: the square brings a 2.": (1, 1 / 2),
}) | instead_of("along", {
    "The variance's term has x - mean twice where it should have x_hat.": lambda x_hat, s: (s**2 * x_hat, s),
    "The variance's term has x - mean once where it should have x_hat.": lambda x_hat, s: (s * x_hat, s),
    "The variance's term is not multiplied by x_hat.": lambda x_hat, s: (1, s),
}) | instead_of("scale", {
    "gamma is forgotten.": lambda gamma, s: 1 / s,
    "gamma is there twice.": lambda gamma, s: gamma**2 / s,
    "gamma is " + LAST: lambda gamma, s: gamma.ravel() / s,
    "The factor 1 / sqrt(var + eps) is missing.": lambda gamma, s: gamma,
    "The factor 1 / sqrt(var + eps) is there twice.": lambda gamma, s: gamma / s**2,
}) | instead_of("average", {
    "Sums stand where means belong: 1/m is missing.": sum_of,
    "The means of dy and of dy x_hat are over m - 1; they are over m.": unbiased,
    POSITIONS: lambda v, axes: sum_of(v, axes) / len(v),
})
TOTAL = instead_of("total", {"A mean stands where the sum belongs.": np.mean})
GAMMA = instead_of("factor", {"There is a factor gamma too many.": np.asarray})
WEIGHTS = instead_of("weights", {
    "momentum is the wrong way round. Here, as in PyTorch, it is the weight of the new batch; in Keras and "
    "Flax, that of the old value.": lambda a: (a, 1 - a),
    "The old value is lost. Its weight is 1 - momentum.": lambda a: (0, a),
    "The batch replaces the old value. Their weights are momentum and 1 - momentum.": lambda a: (0, 1),
    "The old value keeps its whole weight. It is 1 - momentum.": lambda a: (1, a),
    "The batch has its whole weight. It is momentum.": lambda a: (1 - a, 1),
    "The sign is wrong: the average moves away from the batch.": lambda a: (1 + a, -a),
    "The old value is returned as it came.": lambda a: (1, 0),
    "The weight of the batch is 0.1 whatever was given.": lambda a: (0.9, 0.1),
})
KEPT = instead_of("var", {
    "The biased variance is kept. It is what normalizes the batch; what is kept is the unbiased one, m / "
    "(m - 1) times as large.": mean_of,
    "The correction is upside down: it is m / (m - 1).":
        lambda v, axes: mean_of(v, axes) / correction(v, axes),
    POSITIONS: lambda v, axes: mean_of(v, axes) * correction(v, (0,)),
}) | instead_of("keep", {"The standard deviation is kept, not the variance.": np.sqrt})
# fmt: on
NORMALIZED = AXES | MEAN | VAR | BIAS | ROOT | CENTER

FORMULAS = {
    "forward": {"y": (forward, NORMALIZED | UNSCALED | AFFINE | LINE_UP)},
    "backward": {
        "dx": (backward_dx, NORMALIZED | TERMS),
        "dgamma": (backward_dgamma, NORMALIZED | TOTAL | GAMMA),
        "dbeta": (backward_dbeta, TOTAL | GAMMA),
    },
    "inference": {"y": (inference, ROOT | CENTER | UNSCALED | AFFINE | SOURCE)},
    "running": {
        "the new mean": (new_mean, SHARED | MEAN | WEIGHTS),
        "the new variance": (new_var, SHARED | MEAN | VAR | WEIGHTS | KEPT),
    },
}
