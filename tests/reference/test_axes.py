import numpy as np
import pytest

from bnlib.reference import per_channel, statistic_axes


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((6, 3), (0,)),
        ((4, 3, 5), (0, 2)),
        ((2, 3, 4, 5), (0, 2, 3)),
        ((2, 3, 4, 5, 6), (0, 2, 3, 4)),
    ],
)
def test_a_statistic_pools_every_axis_but_the_channels(shape, axes):
    assert statistic_axes(np.zeros(shape)) == axes


@pytest.mark.parametrize("shape", [(), (3,)])
def test_input_without_a_channel_axis_is_refused(shape):
    with pytest.raises(ValueError, match=rf"\(N, C, \*spatial\) \(got {len(shape)}D input\)"):
        statistic_axes(np.zeros(shape))


def test_integers_are_refused():
    with pytest.raises(TypeError, match=r"floating-point array \(got int64\)"):
        statistic_axes(np.zeros((6, 3), np.int64))


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5), (3, 3, 3, 3)])
def test_a_vector_lines_up_with_the_channels_and_nothing_else(shape):
    x = np.zeros(shape)
    v = np.array([10.0, 20.0, 30.0])
    lined_up = x + per_channel(v, x)
    for channel in range(3):
        np.testing.assert_array_equal(lined_up[:, channel], v[channel])


def test_a_lined_up_vector_has_as_many_axes_as_the_batch():
    assert per_channel(np.ones(3), np.zeros((2, 3, 4, 5))).shape == (1, 3, 1, 1)


def test_a_lined_up_vector_is_a_view():
    v = np.ones(3)
    assert np.shares_memory(per_channel(v, np.zeros((2, 3, 4))), v)


@pytest.mark.parametrize("shape", [(), (1,), (2,), (4,), (3, 1), (1, 3)])
def test_a_vector_without_one_value_per_channel_is_refused(shape):
    with pytest.raises(ValueError, match=r"one value per channel, shape \(3,\)"):
        per_channel(np.zeros(shape), np.zeros((4, 3, 5)))
