"""Synthetic traces are what their names say, for every seed."""

import numpy as np
import pytest

from optconform.conformance.traces import DTYPES, TraceError, synthetic_kinds, synthetic_trace

SHAPES = {"w": (50, 8), "b": (40,), "c": (40,)}


def values(trace, name="w"):
    return np.array([step.gradients[name] for step in trace.steps() if step.gradients[name] is not None])


@pytest.mark.parametrize("kind", synthetic_kinds())
@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_every_kind_in_every_dtype_is_reproducible(tools, kind, dtype):
    made = synthetic_trace(kind, seed=3, n_steps=12, dtype=dtype)
    assert tools.same(made, synthetic_trace(kind, seed=3, n_steps=12, dtype=dtype))
    assert {p.dtype for p in made.parameters} == {dtype}
    assert not tools.same(made, synthetic_trace(kind, seed=4, n_steps=12, dtype=dtype))


@pytest.mark.parametrize("kind", sorted(set(synthetic_kinds()) - {"schedule_jump", "mixed"}))
def test_a_shorter_trace_is_the_beginning_of_a_longer_one(kind):
    short = synthetic_trace(kind, n_steps=3)
    for left, right in zip(short.steps(), synthetic_trace(kind, n_steps=9).steps(3), strict=True):
        for name in left.gradients:
            np.testing.assert_array_equal(left.gradients[name], right.gradients[name])


@pytest.mark.parametrize("seed", range(5))
def test_theta_0_tests_signs_zeros_and_magnitudes(seed):
    theta = synthetic_trace("wide_range", seed=seed, shapes=SHAPES).initial_parameters()["w"]
    assert (theta > 0).any()
    assert (theta < 0).any()
    assert (theta == 0).sum() == 50
    magnitudes = np.abs(theta[theta != 0])
    assert 1e-3 <= magnitudes.min() < 1e-2
    assert 1 < magnitudes.max() <= 10


def test_wide_range():
    magnitudes = np.abs(values(synthetic_trace("wide_range", shapes=SHAPES)))
    assert 1e-12 <= magnitudes.min() < 1e-11
    assert 1e3 < magnitudes.max() <= 1e4


def test_sparse():
    zeros = np.mean(values(synthetic_trace("sparse", shapes=SHAPES)) == 0)
    assert 0.93 < zeros < 0.97


def test_zero():
    assert not values(synthetic_trace("zero", shapes=SHAPES)).any()


def test_sign_changes():
    signs = np.sign(values(synthetic_trace("sign_changes", shapes=SHAPES)))
    np.testing.assert_array_equal(signs[1:], -signs[:-1])


def test_spikes():
    largest = np.abs(values(synthetic_trace("spikes", shapes=SHAPES))).max(axis=(1, 2))
    assert [bool(m > 100) for m in largest] == [step % 5 == 0 for step in range(1, 21)]


def test_schedule_jump():
    assert synthetic_trace("schedule_jump", n_steps=4).multipliers == (1.0, 1.0, 0.1, 0.1)
    assert synthetic_trace("sparse", n_steps=4).multipliers == (1.0,) * 4


def test_missing_takes_turns():
    steps = list(synthetic_trace("missing", shapes=SHAPES, n_steps=9).steps())
    for name in SHAPES:
        assert sum(step.gradients[name] is None for step in steps) == 3
    assert all(sum(gradient is None for gradient in step.gradients.values()) == 1 for step in steps)


def test_mixed_has_it_all():
    shapes = {f"p{i}": (200,) for i in range(6)}
    trace = synthetic_trace("mixed", shapes=shapes)
    assert set(trace.multipliers) == {1.0, 0.1}
    assert any(gradient is None for step in trace.steps() for gradient in step.gradients.values())
    assert np.abs(values(trace, "p0")).min() < 1e-10
    assert np.mean(values(trace, "p1") == 0) > 0.9
    assert (values(trace, "p2") > 0).all(axis=1).any()
    assert (values(trace, "p2") < 0).all(axis=1).any()
    assert np.abs(values(trace, "p3")).max() > 100
    assert not values(trace, "p5").any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "sparce"}, "Did you mean 'sparse'?"),
        ({"kind": "q" * 99}, "optconform trace list"),
        ({"kind": "zero", "n_steps": -1}, "n_steps=-1"),
        ({"kind": "zero", "seed": -1}, "seed=-1"),
        ({"kind": "zero", "dtype": "int8"}, "dtype 'int8'"),
        ({"kind": "zero", "shapes": {}}, "no parameters"),
        ({"kind": "zero", "shapes": {"w": (-1,)}}, "shape"),
    ],
)
def test_refused(arguments, words):
    with pytest.raises(TraceError) as refusal:
        synthetic_trace(**arguments)
    assert words in str(refusal.value)
