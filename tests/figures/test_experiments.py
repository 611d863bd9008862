"""The figures of the chapter on the experiments: what is drawn is what was given."""

import numpy as np
import pytest

from bnlib.figures.experiments import (
    plot_accuracy,
    plot_band,
    plot_drift,
    plot_loss,
    plot_medians,
    plot_percentiles,
    plot_settings,
)

STEPS = np.array([0, 100, 200, 300])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def table(subplots):
    return subplots(2, 3)


def percentiles(rng, *shape):
    """Sorted along the axis of the three percentiles, the last but one."""
    return np.sort(rng.normal(size=shape), axis=-2)


def legend_names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# --- loss ---


def test_the_loss_is_the_mean_over_the_window_that_ends_at_the_step(ax, rng):
    loss = rng.uniform(size=(1, 120))
    plot_loss(ax, {"plain": loss}, window=50)
    steps, drawn = ax.lines[0].get_data()
    assert steps[0] == 50 and steps[-1] == 120
    np.testing.assert_allclose(drawn[0], loss[0, :50].mean())
    np.testing.assert_allclose(drawn[-1], loss[0, 70:].mean())


def test_a_window_of_one_step_is_the_loss_itself(ax, rng):
    loss = rng.uniform(size=30)
    plot_loss(ax, {"plain": loss}, window=1)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), loss)


def test_the_loss_names_its_axes_and_networks(ax, rng):
    plot_loss(ax, {"plain": rng.uniform(size=60), "with BN": rng.uniform(size=60)})
    assert ax.get_xlabel() == "step"
    assert ax.get_ylabel() == "training loss, mean of 50 steps"
    assert legend_names(ax) == ["plain", "with BN"]
    assert ax.get_ylim()[0] == 0


@pytest.mark.parametrize("window", [0, 61])
def test_a_window_that_does_not_fit_is_refused(ax, rng, window):
    with pytest.raises(ValueError, match="expected a window between 1 and 60 steps"):
        plot_loss(ax, {"plain": rng.uniform(size=60)}, window=window)


# --- accuracy ---


def test_the_line_is_the_median_of_the_runs_and_the_band_spans_them(ax, rng):
    runs = rng.uniform(size=(3, 4))
    plot_accuracy(ax, STEPS, {"plain": runs})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.median(runs, axis=0))
    corners = ax.collections[0].get_paths()[0].vertices
    for step, values in zip(STEPS, runs.T, strict=True):
        drawn = corners[corners[:, 0] == step, 1]
        np.testing.assert_allclose([drawn.min(), drawn.max()], [values.min(), values.max()])


def test_a_single_run_has_no_band(ax, rng):
    plot_accuracy(ax, STEPS, {"plain": rng.uniform(size=4)})
    assert len(ax.lines) == 1 and not ax.collections


def test_the_axis_of_accuracies_goes_from_zero_to_one_unless_told(ax, rng):
    plot_accuracy(ax, STEPS, {"plain": rng.uniform(size=4)})
    assert ax.get_ylim() == (0, 1) and ax.get_xlim() == (0, 300)
    plot_accuracy(ax, STEPS, {"plain": rng.uniform(size=4)}, ylim=(0.7, 1))
    assert ax.get_ylim() == (0.7, 1)


def test_a_curve_with_too_few_points_is_refused(ax, rng):
    with pytest.raises(ValueError, match=r"plain: expected shape \(runs, 4\) \(got \(2, 3\)\)"):
        plot_accuracy(ax, STEPS, {"plain": rng.uniform(size=(2, 3))})


# --- percentiles ---


def test_each_panel_draws_its_own_units_median_and_band(table, rng):
    values = {"plain": percentiles(rng, 4, 3, 9), "with BN": percentiles(rng, 4, 3, 9)}
    plot_percentiles(table, STEPS, values, units=[5, 0, 8])
    for row, given in zip(table, values.values(), strict=True):
        for ax, unit in zip(row, [5, 0, 8], strict=True):
            np.testing.assert_allclose(ax.lines[0].get_ydata(), given[:, 1, unit])
            corners = ax.collections[0].get_paths()[0].vertices[:, 1]
            np.testing.assert_allclose(
                [corners.min(), corners.max()], [given[:, 0, unit].min(), given[:, 2, unit].max()]
            )


def test_all_panels_share_limits_that_hold_every_band(table, rng):
    values = {"plain": percentiles(rng, 4, 3, 3), "with BN": 5 + percentiles(rng, 4, 3, 3)}
    plot_percentiles(table, STEPS, values, units=[0, 1, 2])
    limits = {(*ax.get_xlim(), *ax.get_ylim()) for ax in table.ravel()}
    assert len(limits) == 1
    left, right, bottom, top = limits.pop()
    assert (left, right) == (0, 300)
    assert bottom < values["plain"].min() and top > values["with BN"].max()


def test_panels_say_which_network_and_which_unit(table, rng):
    values = {"plain": percentiles(rng, 4, 3, 9), "with BN": percentiles(rng, 4, 3, 9)}
    plot_percentiles(table, STEPS, values, units=[5, 0, 8])
    titles = [ax.get_title(loc="left") for ax in table.ravel()]
    assert titles == ["plain, unit 5", "unit 0", "unit 8", "with BN, unit 5", "unit 0", "unit 8"]
    assert all(ax.get_xlabel() == "step" for ax in table[1])


def test_of_several_runs_the_median_of_each_percentile_is_drawn(table, rng):
    values = {"plain": percentiles(rng, 5, 4, 3, 3), "with BN": percentiles(rng, 5, 4, 3, 3)}
    plot_percentiles(table, STEPS, values, units=[0, 1, 2])
    np.testing.assert_allclose(
        table[1, 2].lines[0].get_ydata(), np.median(values["with BN"][:, :, 1, 2], axis=0)
    )


def test_axes_that_are_no_table_of_networks_and_units_are_refused(table, rng):
    values = {"plain": percentiles(rng, 4, 3, 9)}
    with pytest.raises(ValueError, match=r"axes: expected shape \(1, 3\) \(got \(2, 3\)\)"):
        plot_percentiles(table, STEPS, values, units=[0, 1, 2])


def test_two_percentiles_are_refused(table, rng):
    values = {"plain": rng.normal(size=(4, 2, 9)), "with BN": rng.normal(size=(4, 2, 9))}
    with pytest.raises(ValueError, match=r"plain: expected shape \(T, 3, units\)"):
        plot_percentiles(table, STEPS, values, units=[0, 1, 2])


# --- one band, all medians ---


def test_a_band_reaches_from_percentile_to_percentile_around_the_median(ax, rng):
    values = percentiles(rng, 4, 3, 1)[:, :, 0]
    plot_band(ax, STEPS, values, "C1")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), values[:, 1])
    corners = ax.collections[0].get_paths()[0].vertices
    for step, (low, _, high) in zip(STEPS, values, strict=True):
        drawn = corners[corners[:, 0] == step, 1]
        np.testing.assert_allclose([drawn.min(), drawn.max()], [low, high])


def test_a_band_of_two_percentiles_is_refused(ax, rng):
    with pytest.raises(ValueError, match=r"percentiles: expected shape \(4, 3\)"):
        plot_band(ax, STEPS, rng.normal(size=(4, 2)), "C0")


def test_every_units_median_is_drawn_on_one_scale(table, rng):
    medians = {"plain": rng.normal(size=(4, 9)), "with BN": 5 + rng.normal(size=(4, 9))}
    plot_medians(table[:, 0], STEPS, medians)
    top, bottom = table[:, 0]
    drawn = np.stack([line.get_ydata() for line in bottom.lines], axis=1)
    np.testing.assert_allclose(drawn, medians["with BN"])
    assert top.get_ylim() == bottom.get_ylim()
    assert bottom.get_title(loc="left") == "with BN, all 9"


def test_medians_at_other_steps_are_refused(table, rng):
    with pytest.raises(ValueError, match=r"plain: expected shape \(4, units\)"):
        plot_medians(table[:1, 0], STEPS, {"plain": rng.normal(size=(3, 9))})


# --- drift ---


def test_the_drift_curve_climbs_to_one_over_the_sorted_distances(ax, rng):
    drift = rng.uniform(0.1, 2, size=(3, 20))
    plot_drift(ax, {"plain": drift})
    distance, share = ax.lines[0].get_data()
    np.testing.assert_allclose(distance, np.sort(drift.ravel()))
    assert share[-1] == 1 and np.all(np.diff(share) > 0)
    assert ax.get_xscale() == "log"


def test_a_distance_of_zero_is_refused(ax):
    with pytest.raises(ValueError, match="expected positive distances"):
        plot_drift(ax, {"plain": [0.0, 1.0]})


# --- settings ---


def test_every_setting_has_its_panel_and_one_legend_serves_all(table, rng):
    settings = {title: {"plain": rng.uniform(size=4), "with BN": rng.uniform(size=4)} for title in "abc"}
    row = plot_settings(table[0], STEPS, settings)
    assert [ax.get_title(loc="left") for ax in row] == ["a", "b", "c"]
    assert legend_names(row[0]) == ["plain", "with BN"]
    assert row[1].get_legend() is None and row[2].get_legend() is None
    assert {ax.get_ylim() for ax in row} == {(0, 1)}


def test_as_many_axes_as_settings_are_asked_for(table, rng):
    with pytest.raises(ValueError, match="expected 1 axes"):
        plot_settings(table[0], STEPS, {"a": {"plain": rng.uniform(size=4)}})
