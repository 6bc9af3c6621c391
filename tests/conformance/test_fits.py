"""Least-squares fits: what rounding may do is carried through, at any magnitude."""

import numpy as np
import pytest

from optconform.conformance.fits import Fit, fit, fit_plane


@pytest.fixture
def x():
    return np.random.default_rng(4).standard_normal((5, 3))


@pytest.mark.parametrize("scale", [1.0, 1e200, 1e-200, 1e307, 1e-290])
@pytest.mark.parametrize("c", [0.025, -3.0])
def test_a_coefficient_is_found_at_any_magnitude(x, scale, c):
    with np.errstate(all="raise", under="ignore"):
        theta = x / np.max(np.abs(x)) * scale
        found = fit(-c * theta, theta, np.abs(theta) * 2.0**-50)
    assert found.ratio <= 1.0
    assert abs(found.coefficient - c) <= found.uncertainty < 1e-14


def test_errors_up_to_the_rounding_are_accepted_and_larger_ones_are_not(x):
    rounding = np.full(x.shape, 1e-9)
    rng = np.random.default_rng(1)
    for _ in range(50):
        found = fit(-0.1 * x + rounding * rng.choice((-1.0, 1.0), x.shape), x, rounding)
        assert found.ratio <= 1.0
        assert abs(found.coefficient - 0.1) <= found.uncertainty
    one_off = np.zeros_like(x)
    one_off[2, 1] = 1e-7
    assert fit(-0.1 * x + one_off, x, rounding).ratio > 10.0


def test_nothing_is_known_of_a_multiple_of_zero():
    zeros, rounding = np.zeros(3), np.full(3, 1e-16)
    assert fit(zeros, zeros, rounding) == Fit(0.0, np.inf, 0.0)
    assert fit(np.ones(3), zeros, rounding).ratio > 1e15


def test_a_displacement_out_of_all_proportion_is_no_multiple():
    assert fit(np.full(3, 1e300), np.full(3, 1e-300), np.full(3, 1e-310)).ratio == np.inf


@pytest.mark.parametrize("scales", [(1.0, 1.0), (1e150, 1e-150), (1e-8, 1e8)])
def test_two_coefficients_are_found_within_their_uncertainties(x, scales):
    rng = np.random.default_rng(2)
    theta, step = scales[0] * x, scales[1] * rng.standard_normal(x.shape)
    exact = (0.1 / scales[0], 0.3 / scales[1])
    rounding = np.full(x.shape, 1e-10)
    for _ in range(20):
        noise = rounding * rng.choice((-1.0, 1.0), x.shape)
        plane = fit_plane(-exact[0] * theta + exact[1] * step + noise, (theta, step), rounding)
        assert plane.ratio <= 1.0
        assert abs(plane.first.coefficient - exact[0]) <= plane.first.uncertainty < 1e-7 * exact[0]
        assert abs(plane.second.coefficient - exact[1]) <= plane.second.uncertainty < 1e-7 * exact[1]
    assert fit_plane(np.sin(theta / scales[0]), (theta, step), rounding).ratio > 1e3


def test_what_spans_no_plane_is_not_fitted(x):
    rounding = np.full(x.shape, 1e-12)
    assert fit_plane(x, (x, 2.0 * x), rounding) is None
    assert fit_plane(x, (x, np.zeros_like(x)), rounding) is None
    assert fit_plane(x[0], (x[0], x[1]), rounding[0]) is None  # three elements


def test_coefficients_agree_within_both_uncertainties():
    assert Fit(1.0, 0.1, 0.0).distance(Fit(1.3, 0.2, 0.0)) == pytest.approx(1.0)
    assert Fit(1.0, 0.0, 0.0).distance(Fit(1.0, 0.0, 0.0)) == 0.0
    assert Fit(1.0, 0.0, 0.0).distance(Fit(1.0 + 2.0**-52, 0.0, 0.0)) == np.inf
