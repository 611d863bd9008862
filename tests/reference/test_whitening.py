import numpy as np
import pytest

from bnlib.reference import (
    batch_norm_forward,
    covariance,
    descend_bias,
    descend_weights,
    gradient_ignoring_the_mean,
    gradient_through_the_mean,
    numerical_gradient,
    principal_axes,
    whiten_pca,
    whiten_zca,
)

both = pytest.mark.parametrize("whiten", [whiten_pca, whiten_zca])


@pytest.fixture
def features(rng, dtype):
    """(50, 3), correlated and off center."""
    mixing = np.array([[2.0, 0.5, 0.0], [0.0, 1.0, -0.7], [0.3, 0.0, 0.5]])
    return (rng.normal(size=(50, 3)) @ mixing + [3.0, -1.0, 0.5]).astype(dtype)


def test_the_covariance_is_numpys(features, tolerance):
    np.testing.assert_allclose(covariance(features), np.cov(features, rowvar=False, bias=True), **tolerance)


@pytest.mark.parametrize("shape", [(3,), (4, 3, 5)])
def test_the_covariance_of_what_is_not_a_table_is_refused(shape):
    with pytest.raises(ValueError, match=rf"\(N, d\) \(got {len(shape)}D input\)"):
        covariance(np.zeros(shape))


@both
def test_whitened_features_have_mean_zero_and_covariance_one(features, whiten, tolerance):
    z = whiten(features).astype(np.float64)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=10 * tolerance["atol"])
    np.testing.assert_allclose(np.cov(z, rowvar=False, bias=True), np.eye(3), atol=10 * tolerance["atol"])


@both
def test_whitening_keeps_shape_and_dtype_and_the_input(features, whiten):
    before = features.copy()
    z = whiten(features)
    assert (z.shape, z.dtype) == (features.shape, features.dtype)
    np.testing.assert_array_equal(features, before)


@both
@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_with_eps_the_covariance_has_eigenvalues_below_one(features, whiten):
    eigenvalues = np.linalg.eigvalsh(covariance(features))
    left = np.linalg.eigvalsh(covariance(whiten(features, eps=0.5)))
    np.testing.assert_allclose(left, np.sort(eigenvalues / (eigenvalues + 0.5)), rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_zca_multiplies_by_the_inverse_square_root_of_the_covariance(features):
    centered = features - features.mean(axis=0)
    root = np.linalg.lstsq(centered, whiten_zca(features), rcond=None)[0]
    np.testing.assert_allclose(root, root.T, atol=1e-10)
    assert np.all(np.linalg.eigvalsh(root) > 0)
    np.testing.assert_allclose(root @ covariance(features) @ root, np.eye(3), atol=1e-10)


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_pca_turns_onto_the_eigenvectors_of_the_covariance(features):
    centered = features - features.mean(axis=0)
    turn = np.linalg.lstsq(centered, whiten_pca(features), rcond=None)[0]
    for direction in turn.T:  # Cov v = v / |v|^2, since v = u / sqrt(lambda)
        np.testing.assert_allclose(
            covariance(features) @ direction, direction / (direction @ direction), atol=1e-9
        )


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_of_all_whitened_versions_zca_stays_closest_to_the_features(rng, features):
    centered, zca = features - features.mean(axis=0), whiten_zca(features)
    rotations = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(50)]
    distances = [np.linalg.norm(zca @ q - centered) for q in rotations]
    distances.append(np.linalg.norm(whiten_pca(features) - centered))
    assert np.linalg.norm(zca - centered) < min(distances)


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_zca_of_uncorrelated_features_is_batch_normalization(features):
    uncorrelated = whiten_pca(features) * [2.0, 0.5, 3.0] + [1.0, -2.0, 0.3]
    normalized, _ = batch_norm_forward(uncorrelated, np.ones(3), np.zeros(3), eps=0)
    np.testing.assert_allclose(whiten_zca(uncorrelated), normalized, atol=1e-10)


@both
@pytest.mark.parametrize("n", [2, 3])
def test_too_few_examples_to_whiten_are_refused_without_eps(rng, dtype, whiten, n):
    with pytest.raises(ValueError, match=rf"full rank 3 \(got rank {n - 1}\)"):
        whiten(rng.normal(3, 1, size=(n, 3)).astype(dtype))


@both
def test_a_constant_feature_is_refused_without_eps(features, whiten):
    features[:, 1] = 4
    with pytest.raises(ValueError, match="full rank 3"):
        whiten(features)


@pytest.mark.parametrize("eps", [{}, {"eps": 0.0}], ids=str)
def test_constant_features_have_no_principal_axes_without_a_positive_eps(eps):
    advice = r"full rank 3 \(got rank 0\): give more independent examples or an eps > 0"
    with pytest.raises(ValueError, match=advice):
        principal_axes(np.zeros((5, 3)), **eps)


def test_a_negative_eps_is_refused(features):
    with pytest.raises(ValueError, match=r"expected eps >= 0 \(got -0.001\)"):
        principal_axes(features, eps=-1e-3)


def test_without_eps_the_scale_is_one_over_the_spread_along_each_axis(features, tolerance):
    centered, eigenvectors, scale = principal_axes(features)
    np.testing.assert_allclose((centered @ eigenvectors).std(axis=0) * scale, 1, rtol=10 * tolerance["rtol"])


@both
def test_a_constant_feature_does_no_harm_with_eps(features, whiten):
    features[:, 1] = 4
    z = whiten(features, eps=1e-3)
    assert np.all(np.isfinite(z))
    assert np.max(np.abs(z)) < 10


@both
def test_an_eigenvalue_that_rounding_made_negative_does_no_harm_with_eps(rng, whiten):
    rank_two = (1e3 * rng.normal(size=(50, 2)) @ rng.normal(size=(2, 6))).astype(np.float32)
    assert np.linalg.eigvalsh(covariance(rank_two))[0] < -1e-2
    assert np.all(np.isfinite(whiten(rank_two, eps=1e-6)))


def unit_loss(b, u, target):
    """The loss of the centered unit as one expression, for central differences."""
    x = u + b
    return np.mean((x - np.mean(x) - target) ** 2) / 2


@pytest.fixture
def unit(rng):
    return rng.normal(1.0, 2.0, size=20), rng.normal(0.7, 1.0, size=20)


def test_the_true_gradient_by_the_bias_is_zero(rng, unit):
    u, target = unit
    by_differences = numerical_gradient(lambda b: unit_loss(b, u, target), np.array(0.3))
    dx_hat = (u - u.mean() - target) / 20
    np.testing.assert_allclose(by_differences, 0, atol=1e-9)
    assert gradient_through_the_mean(dx_hat) == pytest.approx(0, abs=1e-15)


def test_the_gradient_that_ignores_the_mean_holds_it_fixed(unit):
    u, target = unit
    fixed = np.mean(u)
    by_differences = numerical_gradient(lambda b: np.mean((u + b - fixed - target) ** 2) / 2, np.array(0.0))
    dx_hat = (u - fixed - target) / 20
    assert gradient_ignoring_the_mean(dx_hat) == pytest.approx(float(by_differences), abs=1e-9)


def test_the_gradient_through_the_mean_sums_the_derivatives_by_x(rng):
    dx_hat = rng.normal(5.0, 1.0, size=20)
    assert gradient_through_the_mean(dx_hat) == pytest.approx(0, abs=1e-13)
    assert gradient_ignoring_the_mean(dx_hat) == pytest.approx(np.sum(dx_hat), rel=1e-15)


def test_ignoring_the_mean_the_bias_grows_for_ever_and_the_loss_stays(unit):
    u, target = unit
    b, loss = descend_bias(u, target, gradient_ignoring_the_mean, steps=200, learning_rate=0.1)
    np.testing.assert_allclose(b, 0.1 * np.mean(target) * np.arange(201), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(loss, unit_loss(0.0, u, target), rtol=1e-12)


def test_through_the_mean_the_bias_stays(unit):
    b, loss = descend_bias(*unit, gradient_through_the_mean, steps=200)
    np.testing.assert_allclose(b, 0, atol=1e-12)
    np.testing.assert_allclose(loss, unit_loss(0.0, *unit), rtol=1e-12)


def test_the_descent_is_recorded_from_its_start(unit):
    b, loss = descend_bias(*unit, gradient_ignoring_the_mean, steps=3)
    assert b.shape == loss.shape == (4,)
    assert b[0] == 0


def test_the_descent_steps_by_a_tenth_of_the_gradient_unless_told_otherwise(unit):
    u, target = unit
    b, _ = descend_bias(u, target, gradient_ignoring_the_mean, steps=1)
    assert b[1] == pytest.approx(0.1 * np.mean(target), rel=1e-12)


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_the_error_of_the_weights_shrinks_by_the_rate_of_the_two_curvatures(features):
    (low, high), error = descend_weights(features)
    factor = (high - low) / (high + low)
    steps = np.arange(len(error))[:, None]
    np.testing.assert_allclose(error, factor**steps * np.hstack([steps >= 0, (-1.0) ** steps]), atol=1e-9)
    assert len(error) - 1 == pytest.approx(np.log(1e-6) / np.log(factor), abs=1)


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_the_descent_of_the_weights_is_that_of_the_mean_squared_error(features):
    curvature, error = descend_weights(features, tolerance=0.5)
    inputs = np.column_stack([np.ones(50), features])
    eigenvalues, eigenvectors = np.linalg.eigh(inputs.T @ inputs / 50)
    np.testing.assert_allclose(curvature, eigenvalues[[0, -1]])
    weights = eigenvectors[:, 0] + eigenvectors[:, -1]  # the targets are 0, and so are the best weights
    for distance in np.linalg.norm(error, axis=1)[:5]:
        assert np.linalg.norm(weights) == pytest.approx(distance, rel=1e-6)
        slope = numerical_gradient(lambda w: np.mean((inputs @ w) ** 2) / 2, weights)
        weights = weights - 2 / np.sum(curvature) * slope
    assert np.linalg.norm(error[-1]) <= 0.5 * np.sqrt(2) < np.linalg.norm(error[-2])


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_the_weights_of_whitened_inputs_are_found_in_one_step(features):
    assert len(descend_weights(whiten_zca(features)).error) == 2


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_centering_leaves_the_covariance_alone_to_decide(features):
    eigenvalues = np.linalg.eigvalsh(covariance(features))
    low, high = descend_weights(features - features.mean(axis=0)).curvature
    assert [low, high] == pytest.approx(
        [min(eigenvalues[0], 1), max(eigenvalues[-1], 1)]
    )  # 1: the intercept's


@pytest.mark.parametrize("inputs", [np.ones((5, 1)), np.outer(np.arange(5.0), [1, 2])])
def test_weights_that_would_never_be_found_are_refused(inputs):
    with pytest.raises(ValueError, match="none of which follows from the others"):
        descend_weights(inputs)


@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_the_error_is_asked_to_shrink_to_a_part(tolerance):
    with pytest.raises(ValueError, match=f"0 < tolerance < 1 .got {tolerance}"):
        descend_weights(np.arange(5.0)[:, None], tolerance)
