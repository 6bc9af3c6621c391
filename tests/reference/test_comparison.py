"""One step's comparison: what counts, what is worst, what cannot be decided."""

from __future__ import annotations

import numpy as np
import pytest

from optconform.reference.comparison import Beside, Comparison, compare, merged

ONES = np.ones(4)


def test_the_worst_element_is_named_with_its_values():
    found = compare(ONES, np.array([1.0, 1.5, 0.0, 1.0]), ONES, np.full(4, 0.5))
    assert found == Comparison(2.0, 2, 0.0, 1.0, 0.5, compared=4, undecidable=0)


def test_equal_numbers_are_no_distance_even_under_a_bound_of_zero():
    assert compare(ONES, ONES, ONES, np.zeros(4)) == Comparison(compared=4)


def test_a_difference_under_a_bound_of_zero_is_infinite():
    found = compare(ONES, np.array([1.0, 1.0, 1.0, 1.0 + 2.0**-52]), ONES, np.zeros(4))
    assert (found.ratio, found.element) == (np.inf, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_infinitely_far(value):
    found = compare(ONES, np.array([1.0, value, 1.0, 1.0]), ONES, np.full(4, 0.5))
    assert (found.ratio, found.element) == (np.inf, 1)


@pytest.mark.parametrize("bound", [np.inf, np.nan])
def test_without_a_bound_nothing_is_compared(bound):
    bounds = np.array([0.5, bound, 0.5, 0.5])
    found = compare(ONES, np.array([1.0, 9.0, 1.0, 1.0]), ONES, bounds)
    assert (found.ratio, found.compared, found.undecidable) == (0.0, 3, 1)


def test_a_vacuous_bound_is_undecidable_but_may_still_be_left():
    found = compare(ONES, np.array([1.0, 1.0, 1.0, 99.0]), ONES, np.array([2.0, 2.5, 0.1, 2.5]))
    assert (found.compared, found.undecidable) == (2, 2)
    assert (found.ratio, found.element) == (98.0 / 2.5, 3)


def test_beside_another_rule_only_elements_that_tell_them_apart_count():
    """The other rule lies at 1.2; an element counts where that is farther than the other rule's bound."""
    other = Beside(np.full(4, 1.2), np.array([0.1, 0.3, 0.1, 0.3]))
    found = compare(ONES, np.array([1.0, 5.0, 1.2, 5.0]), ONES, np.full(4, 0.05), other)
    assert (found.ratio, found.element) == (pytest.approx(4.0), 2)
    everywhere = Beside(other.theta, np.full(4, 0.3))
    assert compare(ONES, np.full(4, 5.0), ONES, np.full(4, 0.05), everywhere).ratio == 0.0


def test_no_elements():
    nothing = np.zeros(0)
    assert compare(nothing, nothing, nothing, nothing) == Comparison()


def test_merging_keeps_the_worse_one_and_adds_the_counts():
    one = Comparison(0.5, 3, 1.0, 2.0, 2.0, compared=10, undecidable=1)
    other = Comparison(0.75, 2, 5.0, 6.5, 2.0, compared=20, undecidable=2)
    assert merged(one, other, 16) == Comparison(0.75, 18, 5.0, 6.5, 2.0, 30, 3)
    assert merged(other, one, 16) == Comparison(0.75, 2, 5.0, 6.5, 2.0, 30, 3)
    assert merged(Comparison(), Comparison(compared=4), 16) == Comparison(compared=4)
