from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnlib.lab.models import PaperNetwork
from bnlib.lab.probes import activation_inputs, record_inputs
from bnlib.lab.together import Run, Shape, Together, batches_together, train_together
from bnlib.lab.training import accuracy, minibatches
from bnlib.layers import BatchNorm, recompute_statistics

WIDTHS = (12, 9, 8, 7, 5)
BATCH_SIZE, STEPS = 10, 30
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}

RUNS = [
    Run(learning_rate=0.1, std=0.3, seed=0),
    Run(learning_rate=0.5, std=0.3, seed=0),
    Run(learning_rate=0.2, std=0.4, seed=4, weight_decay=0.02),
    Run(learning_rate=0.2, std=0.2, seed=5, weight_decay=0.01, weight_decay_norm=0.1),
    Run(learning_rate=0.2, std=0.2, seed=5, weight_decay_norm=0.1),
]


def draw(n, seed):
    """Five classes off the center, in float64."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(WIDTHS[-1], (n,), generator=generator)
    noise = torch.randn(n, WIDTHS[0], generator=generator, dtype=torch.float64)
    return noise + 1 + 2 * F.one_hot(labels, WIDTHS[0]), labels


@pytest.fixture(scope="module")
def train_set():
    return draw(73, seed=1)


@pytest.fixture(scope="module")
def test_set():
    return draw(40, seed=2)


def shape(norm="before", activation="sigmoid", **settings):
    return Shape(WIDTHS, activation=activation, norm=norm, batch_size=BATCH_SIZE, **settings)


def before_or_plain(shape, run):
    """The book's network, with the book's layer."""
    norm = (lambda n: BatchNorm(n, eps=shape.eps, momentum=shape.momentum)) if shape.norm else None
    activation = ACTIVATIONS[shape.activation]
    return PaperNetwork(norm, widths=WIDTHS, std=run.std, activation=activation, seed=run.seed).double()


def after(shape, run):
    """The same weights, with torch's own layer behind every activation."""
    source = PaperNetwork(widths=WIDTHS, std=run.std, seed=run.seed)
    layers = []
    for block in source.hidden:
        norm = nn.BatchNorm1d(block.linear.out_features, eps=shape.eps, momentum=shape.momentum)
        layers += [block.linear, ACTIVATIONS[shape.activation](), norm]
    return nn.Sequential(*layers, source.output).double()


def model_of(shape, run):
    return after(shape, run) if shape.norm == "after" else before_or_plain(shape, run)


def plain_loop(model, run, train_set, steps=STEPS):
    """Autograd and torch's SGD: the losses, and the gradients of the weight matrices in the last step."""
    images, labels = train_set
    norms = [p for m in model.modules() if hasattr(m, "running_mean") for p in m.parameters()]
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    biases = [m.bias for m in model.modules() if isinstance(m, nn.Linear) and m.bias is not None]
    optimizer = torch.optim.SGD(
        [
            {"params": weights, "weight_decay": run.weight_decay},
            {"params": biases},
            *([{"params": norms, "weight_decay": run.weight_decay_norm}] if norms else []),
        ],
        lr=run.learning_rate,
    )
    batches = minibatches(len(images), BATCH_SIZE, torch.Generator().manual_seed(run.seed))
    losses = []
    for _ in range(steps):
        batch = next(batches)
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [weight.grad.norm().item() for weight in weights]


def take(together, train_set, steps=STEPS):
    batches = batches_together([run.seed for run in together.runs], *train_set, BATCH_SIZE)
    return np.stack([together.step(*next(batches)).numpy() for _ in range(steps)], axis=1)


def of_run(together, r):
    """One run's parameters and statistics, in the order of a model's state dict by kind."""
    return {
        "weights": [W[r].T for W in together.weights],
        "biases": [b[r, 0] for b in together.biases if b is not None],
        "norms": [
            [values[k][r, 0] for values in (together.gammas, together.betas)]
            + [values[k][r, 0] for values in (together.running_means, together.running_vars)]
            for k in range(len(together.gammas))
        ],
    }


def of_model(model):
    linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
    norms = [m for m in model.modules() if hasattr(m, "running_mean")]
    return {
        "weights": [m.weight.detach() for m in linears],
        "biases": [m.bias.detach() for m in linears if m.bias is not None],
        "norms": [[m.weight.detach(), m.bias.detach(), m.running_mean, m.running_var] for m in norms],
    }


CASES = [(norm, activation) for norm in (None, "before", "after") for activation in ACTIVATIONS]


@pytest.mark.parametrize(("norm", "activation"), CASES)
def test_every_step_is_that_of_the_plain_loop(norm, activation, train_set, test_set):
    layout = shape(norm, activation, momentum=0.2, eps=1e-3)
    together = Together(layout, RUNS, torch.float64)
    losses = take(together, train_set)
    for r, run in enumerate(RUNS):
        model = model_of(layout, run)
        expected, norms = plain_loop(model, run, train_set)
        np.testing.assert_allclose(losses[r], expected, **TOLERANCE)
        torch.testing.assert_close(of_run(together, r), of_model(model), **TOLERANCE)
        np.testing.assert_allclose(together.gradient_norms()[r], norms, **TOLERANCE)
        torch.testing.assert_close(
            together.scores(test_set[0])[r], model.eval()(test_set[0]).detach(), **TOLERANCE
        )
        assert together.accuracy(*test_set)[r] == accuracy(model, *test_set)


def test_the_weights_have_moved_far_from_where_they_began(train_set):
    together = Together(shape(), RUNS, torch.float64)
    before = [W.clone() for W in together.weights]
    take(together, train_set)
    assert min((W - W0).abs().max() for W, W0 in zip(together.weights, before, strict=True)) > 0.01


@pytest.mark.parametrize("norm", [None, "before"])
def test_inputs_are_what_the_activations_receive_at_inference(norm, train_set, test_set):
    together = Together(shape(norm), RUNS, torch.float64)
    take(together, train_set)
    for r, run in enumerate(RUNS):
        model = before_or_plain(together.shape, run)
        plain_loop(model, run, train_set)
        with record_inputs(activation_inputs(model)) as inputs:
            model.eval()(test_set[0])
        ours = [x[r] for x in together.inputs(test_set[0])]
        torch.testing.assert_close(ours, list(inputs.values()), **TOLERANCE)


def test_behind_the_activation_inputs_are_the_linear_maps_own(train_set, test_set):
    together = Together(shape("after"), RUNS, torch.float64)
    take(together, train_set)
    first = test_set[0] @ together.weights[0] + together.biases[0]
    torch.testing.assert_close(together.inputs(test_set[0])[0], first, **TOLERANCE)


@pytest.mark.parametrize("norm", ["before", "after"])
def test_recomputed_statistics_are_the_layers_own(norm, train_set):
    together = Together(shape(norm), RUNS, torch.float64)
    take(together, train_set)
    together.recompute(train_set[0], 30)  # the last batch has 13
    for r, run in enumerate(RUNS):
        model = model_of(together.shape, run)
        plain_loop(model, run, train_set)
        recompute_statistics(model, train_set[0].split(30))
        torch.testing.assert_close(of_run(together, r), of_model(model), **TOLERANCE)


def test_a_run_is_the_same_alone_and_in_company(train_set):
    losses = take(Together(shape(), RUNS, torch.float64), train_set)
    for r, run in enumerate(RUNS):
        alone = take(Together(shape(), [run], torch.float64), train_set)
        np.testing.assert_allclose(losses[r], alone[0], **TOLERANCE)


@pytest.mark.parametrize("norm", [None, "before"])
def test_a_run_that_diverges_leaves_the_others_alone(norm, train_set, test_set):
    wild = [*RUNS[:2], Run(learning_rate=1e200, std=0.3, seed=0), RUNS[2]]
    tame = [*RUNS[:2], Run(learning_rate=0.1, std=0.3, seed=0), RUNS[2]]
    together, expected = (Together(shape(norm, "relu"), runs, torch.float64) for runs in (wild, tame))
    losses, expected_losses = take(together, train_set), take(expected, train_set)
    assert not np.isfinite(losses[2, -1])
    others = [0, 1, 3]
    np.testing.assert_array_equal(losses[others], expected_losses[others])
    assert together.accuracy(*test_set)[2] < 0.5
    assert torch.equal(together.accuracy(*test_set)[others], expected.accuracy(*test_set)[others])


def test_a_batch_of_each_seed_is_that_of_the_plain_loop(train_set):
    images, labels = train_set
    for seeds in ([3, 3], [3, 4], [3, 4, 3]):
        batches = batches_together(seeds, images, labels, BATCH_SIZE)
        x, y = next(islice(batches, 8, None))
        for r, seed in enumerate(seeds):
            plain = minibatches(len(images), BATCH_SIZE, torch.Generator().manual_seed(seed))
            batch = next(islice(plain, 8, None))
            assert torch.equal(x[r], images[batch])
            assert torch.equal(y[r], labels[batch])


def test_looks_at_a_float32_training_of_images_with_channels():
    images, labels = draw(73, seed=1)
    data = images.float().view(-1, 1, 3, 4), labels
    curves = train_together(shape(), RUNS[:2], data, data, steps=7, look_steps=[0, 3, 7], progress=False)
    assert curves.steps.tolist() == [0, 3, 7]
    assert curves.accuracy.shape == curves.loss.shape == (2, 3)
    assert curves.probes == {}


def probe(together):
    return {"norms": together.gradient_norms(), "gamma": together.gammas[0][:, 0]}


def curves_of(train_set, test_set, **settings):
    return train_together(
        shape(),
        RUNS,
        train_set,
        test_set,
        **{"steps": 12, "look_steps": [0, 5, 9], "probe": probe, "dtype": torch.float64} | settings,
        progress=False,
    )


def test_curves_hold_what_was_seen_at_every_look(train_set, test_set):
    curves = curves_of(train_set, test_set)
    together = Together(shape(), RUNS, torch.float64)
    batches = batches_together([run.seed for run in RUNS], *train_set, BATCH_SIZE)
    losses = []
    for step in range(10):
        if step in (0, 5, 9):
            t = [0, 5, 9].index(step)
            np.testing.assert_array_equal(curves.accuracy[:, t], together.accuracy(*test_set))
            np.testing.assert_array_equal(curves.probes["gamma"][:, t], together.gammas[0][:, 0])
            np.testing.assert_array_equal(curves.probes["norms"][:, t], together.gradient_norms())
        losses.append(together.step(*next(batches)).numpy())
    assert np.isnan(curves.loss[:, 0]).all()
    np.testing.assert_allclose(curves.loss[:, 1], np.mean(losses[:5], axis=0), rtol=1e-12)
    np.testing.assert_allclose(curves.loss[:, 2], np.mean(losses[5:9], axis=0), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_resumed_training_ends_as_if_never_interrupted(dtype, train_set, test_set):
    states = []
    kept = {"checkpoint": states.append, "checkpoint_seconds": 0, "dtype": dtype}
    whole = curves_of(train_set, test_set, **kept)
    assert len(states) == 12
    for at in (1, 5, 7, 12):
        ends = []
        resumed = curves_of(train_set, test_set, state=states[at - 1], **kept | {"checkpoint": ends.append})
        np.testing.assert_array_equal(resumed.accuracy, whole.accuracy)
        np.testing.assert_array_equal(resumed.loss, whole.loss)
        for name, values in whole.probes.items():
            np.testing.assert_array_equal(resumed.probes[name], values)
        assert len(ends) == 12 - at
        for name, value in (ends[-1] if ends else {}).items():
            np.testing.assert_array_equal(value, states[-1][name])


def test_a_state_survives_a_file(tmp_path, train_set, test_set):
    states = []
    whole = curves_of(train_set, test_set, checkpoint=states.append, checkpoint_seconds=0)
    np.savez(tmp_path / "state.npz", **states[6])
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        resumed = curves_of(train_set, test_set, state=state)
    np.testing.assert_array_equal(resumed.loss, whole.loss)


def test_no_checkpoint_before_its_time(train_set, test_set):
    states = []
    curves_of(train_set, test_set, checkpoint=states.append, checkpoint_seconds=1000)
    assert not states


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"look_steps": [0, 4, 9]}, "state of this training"), ({"steps": 9}, "state of this training")],
)
def test_the_state_of_another_training_is_refused(changes, message, train_set, test_set):
    states = []
    curves_of(train_set, test_set, checkpoint=states.append, checkpoint_seconds=0)
    with pytest.raises(ValueError, match=message):
        curves_of(train_set, test_set, state=states[9], **changes)


def test_the_state_of_other_networks_is_refused_and_changes_nothing():
    together = Together(shape(), RUNS)
    before = together.state()
    for other in (
        Together(shape(), RUNS[:2]),
        Together(shape(), RUNS, torch.float64),
        Together(shape(None), RUNS),
    ):
        with pytest.raises(ValueError, match="shape and dtype"):
            together.load(other.state())
    after_all = together.state()
    assert all(np.array_equal(after_all[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (3,)}, "an input and an output"),
        ({"widths": (3, 0, 2)}, "positive widths"),
        ({"activation": "gelu"}, "'gelu'"),
        ({"norm": "layer"}, "'layer'"),
        ({"batch_size": 0}, "at least 1"),
        ({"batch_size": 1, "norm": "after"}, "at least 2"),
        ({"momentum": 1.5}, "between 0 and 1"),
        ({"eps": 0}, "eps > 0"),
    ],
)
def test_a_shape_out_of_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Shape(**settings)


@pytest.mark.parametrize(
    "settings", [{"learning_rate": 0}, {"learning_rate": float("nan")}, {"std": 0}, {"weight_decay": -1}]
)
def test_a_run_out_of_range_is_refused(settings):
    with pytest.raises(ValueError, match="expected"):
        Run(**settings)


def test_no_run_is_refused():
    with pytest.raises(ValueError, match="at least one run"):
        Together(shape(), [])


def test_a_mini_batch_of_another_size_is_refused():
    together = Together(shape(), RUNS)
    x, y = torch.rand(len(RUNS), BATCH_SIZE, WIDTHS[0]), torch.zeros(len(RUNS), BATCH_SIZE, dtype=torch.int64)
    for images, labels in ((x[:, :4], y[:, :4]), (x[:2], y), (x[..., :3], y), (x, y[0])):
        with pytest.raises(ValueError, match="expected images"):
            together.step(images, labels)


@pytest.mark.parametrize(("n", "batch"), [(0, 5), (21, 20), (20, 0), (20, 1)])
def test_statistics_of_too_few_images_are_refused(n, batch):
    with pytest.raises(ValueError, match="at least two images"):
        Together(shape(), RUNS).recompute(torch.rand(n, WIDTHS[0]), batch)


def test_without_a_norm_there_are_no_statistics_to_recompute():
    with pytest.raises(ValueError, match="got none"):
        Together(shape(None), RUNS).recompute(torch.rand(20, WIDTHS[0]), 10)


def test_before_the_first_step_there_is_no_gradient():
    assert Together(shape(), RUNS).gradient_norms().isnan().all()


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0, "look_steps": []}, {"look_steps": [5, 2]}, {"look_steps": [-1]}, {"look_steps": [13]}],
)
def test_steps_and_looks_that_cannot_be_are_refused(settings, train_set, test_set):
    with pytest.raises(ValueError, match="expected"):
        curves_of(train_set, test_set, **settings)


def test_a_batch_larger_than_the_data_is_refused(train_set, test_set):
    few = tuple(part[:9] for part in train_set)
    with pytest.raises(ValueError, match="between 1 and 9"):
        curves_of(few, test_set)


def test_a_network_without_hidden_layers_trains_too(train_set):
    together = Together(Shape((12, 5), norm="before", batch_size=BATCH_SIZE), RUNS, torch.float64)
    losses = take(together, train_set)
    assert (losses[:, -1] < losses[:, 0]).all()
    assert together.inputs(train_set[0]) == []
