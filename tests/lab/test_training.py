import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bnlib.lab.models import PaperNetwork
from bnlib.lab.training import accuracy, evaluating, look, minibatches, train
from bnlib.layers import BatchNorm


def network(norm=BatchNorm):
    return PaperNetwork(norm, widths=(6, 5, 4, 3), std=0.5)


@pytest.fixture
def data():
    """Three classes that a small network can tell apart: (train set, test set)."""
    generator = torch.Generator().manual_seed(0)

    def draw(n):
        labels = torch.randint(3, (n,), generator=generator)
        return torch.randn(n, 6, generator=generator) + 3 * F.one_hot(labels, 6), labels

    return draw(50), draw(40)


def indices(n, size, batches, seed=0):
    return list(itertools.islice(minibatches(n, size, torch.Generator().manual_seed(seed)), batches))


def test_an_epochs_mini_batches_take_every_example_once():
    for epoch in range(3):
        seen = torch.cat(indices(12, 4, 9)[3 * epoch : 3 * epoch + 3])
        assert sorted(seen.tolist()) == list(range(12))


def test_the_ragged_rest_of_an_epoch_is_left_out():
    batches = indices(14, 4, 6)
    assert [len(batch) for batch in batches] == [4] * 6
    for epoch in (batches[:3], batches[3:]):
        assert len(set(torch.cat(epoch).tolist())) == 12


def test_each_epoch_has_another_order_and_a_seed_fixes_it():
    first, second = indices(12, 12, 2)
    assert not torch.equal(first, second)
    assert torch.equal(torch.stack([first, second]), torch.stack(indices(12, 12, 2)))
    assert not torch.equal(first, indices(12, 12, 1, seed=1)[0])


@pytest.mark.parametrize("size", [0, -1, 13])
def test_a_batch_size_that_does_not_fit_is_refused(size):
    with pytest.raises(ValueError, match="between 1 and 12"):
        indices(12, size, 1)


def test_accuracy_is_the_share_of_right_answers_at_inference(data):
    model, (x, y) = network().eval(), data[1]
    right = (model(x).argmax(dim=1) == y).sum().item()
    assert accuracy(model.train(), x, y) == right / 40


def test_accuracy_does_not_mind_a_ragged_last_chunk(data):
    model = network()
    assert accuracy(model, *data[1], batch_size=7) == accuracy(model, *data[1])


def test_accuracy_moves_nothing_and_puts_every_mode_back(data):
    model = network()
    model.hidden[0].norm.eval()  # frozen while the rest trains
    modes = [m.training for m in model.modules()]
    before = {name: v.clone() for name, v in model.state_dict().items()}
    accuracy(model, *data[1])
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())


def test_accuracy_puts_the_mode_back_after_a_failure(data):
    model = network()
    with pytest.raises(RuntimeError):
        accuracy(model, data[1][0][:, :2], data[1][1])
    assert model.training


def test_training_is_plain_gradient_descent_on_the_cross_entropy(data):
    model, twin = network(), network()
    history = train(model, *data, steps=3, batch_size=10, learning_rate=0.3, seed=5)
    x, y = data[0]
    for step, batch in enumerate(indices(50, 10, 3, seed=5)):
        loss = F.cross_entropy(twin(x[batch]), y[batch])
        assert history.loss[step] == pytest.approx(loss.item(), rel=1e-6)
        gradients = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for p, gradient in zip(twin.parameters(), gradients, strict=True):
                p -= 0.3 * gradient
    for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("norm", [None, BatchNorm])
def test_training_learns(data, norm):
    history = train(network(norm), *data, steps=500, batch_size=10, learning_rate=1.0, look_every=500)
    assert history.loss[-50:].mean() < 0.5 * history.loss[:5].mean()
    assert history.accuracy[-1] > 0.8  # by chance it would be a third


def gamma(model):
    assert not model.training
    return {"gamma": model.hidden[0].norm.weight.detach().numpy().copy()}


def run(data, seed=0, look_every=2, **arguments):
    torch.manual_seed(seed + 100)  # of no effect
    model = network()
    arguments = {"steps": 7, "batch_size": 10, "probe": gamma} | arguments
    return model, train(model, *data, seed=seed, look_every=look_every, **arguments)


def test_a_seed_fixes_the_run(data):
    (model, history), (again, same), (_, other) = run(data), run(data), run(data, seed=1)
    np.testing.assert_array_equal(history.loss, same.loss)
    np.testing.assert_array_equal(history.accuracy, same.accuracy)
    for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not np.array_equal(history.loss, other.loss)


def test_training_leaves_the_global_generator_alone(data):
    model = network()
    before = torch.get_rng_state()
    train(model, *data, steps=2, batch_size=10)
    assert torch.equal(torch.get_rng_state(), before)


def test_how_often_it_is_looked_at_does_not_change_a_run(data):
    (model, history), (other, same) = run(data, look_every=1), run(data, look_every=1000)
    np.testing.assert_array_equal(history.loss, same.loss)
    for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("steps", "look_every", "looks"), [(7, 2, [0, 2, 4, 6, 7]), (6, 2, [0, 2, 4, 6]), (3, 100, [0, 3])]
)
def test_the_model_is_looked_at_first_regularly_and_last(data, steps, look_every, looks):
    _, history = run(data, steps=steps, look_every=look_every)
    assert history.steps.tolist() == looks
    assert history.loss.shape == (steps,)
    assert history.accuracy.shape == (len(looks),)
    assert {name: v.shape for name, v in history.probes.items()} == {"gamma": (len(looks), 5)}


def test_the_first_and_the_last_look_are_at_the_model_before_and_after(data):
    untrained = accuracy(network(), *data[1])
    model, history = run(data)
    assert history.accuracy[0] == untrained
    assert history.accuracy[-1] == accuracy(model, *data[1])


def test_a_look_holds_the_accuracy_and_what_the_probe_finds_at_inference(data):
    model, history = run(data)
    found = look(model, data[1], gamma)
    assert found.keys() == {"accuracy", "gamma"}
    assert found["accuracy"] == accuracy(model, *data[1])
    np.testing.assert_array_equal(history.probes["gamma"][-1], model.hidden[0].norm.weight.detach())
    np.testing.assert_array_equal(history.probes["gamma"][0], np.ones(5))


def test_without_a_probe_there_is_nothing_but_the_accuracy(data):
    assert train(network(), *data, steps=1, batch_size=10).probes == {}


def test_inside_evaluating_nothing_trains_and_afterwards_each_mode_is_back(data):
    model = network()
    model.hidden[0].norm.eval()
    modes = [m.training for m in model.modules()]
    with evaluating(model):
        assert not any(m.training for m in model.modules())
        assert not model(data[1][0]).requires_grad
    assert [m.training for m in model.modules()] == modes


def test_the_model_is_trained_in_training_mode_even_if_it_comes_in_eval_mode(data):
    model = network().eval()
    train(model, *data, steps=3, batch_size=10)
    assert model.training
    assert model.hidden[0].norm.num_batches_tracked == 3


def test_a_run_prints_nothing_when_the_progress_bar_is_off(data, capfd):
    run(data)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"look_every": 0}], ids=str)
def test_no_steps_or_no_looks_are_refused(data, arguments):
    with pytest.raises(ValueError, match="positive steps and look_every"):
        run(data, **arguments)


def test_a_batch_larger_than_the_data_is_refused(data):
    with pytest.raises(ValueError, match="between 1 and 50"):
        run(data, batch_size=51)
