"""A view of some parameters of a trace: their numbers are the whole's, the others are gone."""

import numpy as np
import pytest

from optconform.conformance.traces import synthetic_trace
from optconform.conformance.traces.selected import SelectedTrace


@pytest.fixture
def whole():
    return synthetic_trace("missing", shapes={"w": (3, 2), "b": (4,), "u": (2, 2)}, n_steps=5)


@pytest.fixture
def matrices(whole):
    return SelectedTrace(whole, lambda parameter: len(parameter.shape) == 2)


def test_only_what_was_chosen_is_there(matrices):
    assert [parameter.name for parameter in matrices.parameters] == ["w", "u"]
    assert set(matrices.initial_parameters()) == {"w", "u"}
    assert all(set(step.gradients) == {"w", "u"} for step in matrices.steps())


def test_the_numbers_are_those_of_the_whole(whole, matrices):
    np.testing.assert_array_equal(matrices.initial_parameters()["u"], whole.initial_parameters()["u"])
    for part, full in zip(matrices.steps(4), whole.steps(4), strict=True):
        assert (part.index, part.multiplier) == (full.index, full.multiplier)
        for name, grad in part.gradients.items():
            np.testing.assert_array_equal(grad, full.gradients[name])
    np.testing.assert_array_equal(matrices.block("w", 1, 1, 4), whole.block("w", 1, 1, 4))


def test_name_digest_and_length_stay(whole, matrices):
    assert (matrices.name, matrices.sha256, matrices.n_steps) == (whole.name, whole.sha256, 5)
    assert (matrices.multipliers, matrices.provenance) == (whole.multipliers, whole.provenance)


def test_missing_gradients_are_those_of_the_chosen(whole, matrices):
    assert {step: names for step, names in matrices.missing.items() if "b" in names} == {}
    for step, names in whole.missing.items():
        assert matrices.missing.get(step, frozenset()) == names - {"b"}


def test_what_was_left_out_has_no_block(matrices):
    with pytest.raises(KeyError):
        matrices.block("b", 1, 0, 2)
