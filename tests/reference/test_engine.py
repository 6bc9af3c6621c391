"""Block-wise replay: both engines equal whole-array stepping bit for bit, and memory stays where it is."""

from __future__ import annotations

import itertools
import re
import sys
import tracemalloc

import numpy as np
import pytest

from optconform.reference import (
    RULES,
    AdamOptions,
    AdamWOptions,
    AMSGrad,
    BiasCorrection,
    DecayLaw,
    DecayOrder,
    Epsilon,
    Momentum,
    SGDOptions,
    replay,
)
from optconform.reference.rules import track

STEPS = 9
SIZE = 333
MULTIPLIERS = [1.0, 0.3, 0.7, 1.0, 0.0, 0.1, 0.9, 1.0, 0.05]


def trace(size=SIZE, steps=STEPS):
    """theta_0 and gradients over sixteen decades, with zeros."""
    rng = np.random.default_rng(3)
    grads = rng.choice([-1.0, 1.0], (steps, size)) * 10.0 ** rng.uniform(-12, 4, (steps, size))
    grads[rng.random((steps, size)) < 0.1] = 0.0
    return rng.standard_normal(size), grads


THETA, GRADS = trace()


def read_block(step, start, stop):
    return GRADS[step - 1, start:stop]


def stepped(rule, options, theta=THETA, grads=GRADS, multipliers=MULTIPLIERS):
    """The specification itself: whole arrays, one pure step after the other."""
    state = track(theta, options).state
    for grad, eta in zip(grads, multipliers, strict=True):
        theta, state = rule.step(theta, grad, state, options, eta)
    return theta


def axis_groups(name):
    """Split all combinations of the axes into groups that share one compiled loop; the rest varies inside."""
    rule = RULES[name]
    orders = DecayOrder if rule.decoupled else [None]
    laws = DecayLaw if rule.decoupled else [None]
    if rule.family == "adam":
        outer = [{"epsilon": e, "amsgrad": a} for e in Epsilon for a in AMSGrad]
        inner = [{"bias_correction": b} for b in BiasCorrection]
        inner.append({"correction_beta1": 0.8, "correction_beta2": 0.98})
        common = {"lr": 0.05, "weight_decay": 0.3, "beta1": 0.9, "beta2": 0.97, "eps": 1e-6}
    else:
        outer = [{"nesterov": n} for n in (False, True)]
        inner = [
            {"momentum_form": f, "dampening": d, "dampen_first_step": s}
            for f in Momentum
            for d in (0.0, 0.3)
            for s in (False, True)
        ]
        common = {"lr": 0.05, "weight_decay": 0.3, "momentum": 0.9}
    for group, order in itertools.product(outer, orders):
        decay = [{} if order is None else {"law": law, "order": order} for law in laws]
        label = "-".join([name, *map(str, group.values())] + ([] if order is None else [str(order)]))
        yield pytest.param(name, [common | group | i | d for i in inner for d in decay], id=label)


GROUPS = [group for name in RULES for group in axis_groups(name)]


@pytest.mark.parametrize(("name", "combinations"), GROUPS)
def test_compiled_engine_is_the_step_function_bit_for_bit(name, combinations):
    pytest.importorskip("numba")
    rule = RULES[name]
    for values in combinations:
        options = rule.options(**values)
        result = replay(rule, THETA, read_block, options, MULTIPLIERS, engine="compiled", block_size=100)
        np.testing.assert_array_equal(result, stepped(rule, options), err_msg=str(options))


@pytest.mark.parametrize("block_size", [1, 7, 100, SIZE, 10_000])
@pytest.mark.parametrize("name", RULES)
def test_numpy_engine_does_not_depend_on_the_block_size(name, block_size):
    rule = RULES[name]
    options = rule.options(lr=0.05, weight_decay=0.3)
    result = replay(rule, THETA, read_block, options, MULTIPLIERS, engine="numpy", block_size=block_size)
    np.testing.assert_array_equal(result, stepped(rule, options))


@pytest.fixture(params=["numpy", "compiled", "auto"])
def engine(request):
    if request.param == "compiled":
        pytest.importorskip("numba")
    return request.param


ADAMW = RULES["adamw"]
OPTIONS = AdamWOptions(lr=0.05, weight_decay=0.3)


def test_nothing_passed_in_is_changed(engine):
    theta, grads = trace()
    theta.flags.writeable = grads.flags.writeable = False
    multipliers = tuple(MULTIPLIERS)
    result = replay(ADAMW, theta, lambda t, a, b: grads[t - 1, a:b], OPTIONS, multipliers, engine=engine)
    assert not np.shares_memory(result, theta)
    np.testing.assert_array_equal(theta, THETA)
    np.testing.assert_array_equal(grads, GRADS)


def test_shape_is_kept_and_coordinates_are_read_in_row_major_order(engine):
    theta = THETA.reshape(9, 37)
    grads = GRADS.reshape(STEPS, 9, 37)
    result = replay(ADAMW, theta.T, lambda t, a, b: grads[t - 1].T.ravel()[a:b], OPTIONS, MULTIPLIERS, engine=engine)
    assert result.shape == (37, 9)
    np.testing.assert_array_equal(result.T.ravel(), stepped(ADAMW, OPTIONS))


def test_float32_is_widened_before_anything_is_computed(engine):
    theta, grads = THETA.astype(np.float32), GRADS.astype(np.float32)
    result = replay(ADAMW, theta, lambda t, a, b: grads[t - 1, a:b], OPTIONS, MULTIPLIERS, engine=engine)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, stepped(ADAMW, OPTIONS, theta.astype(float), grads.astype(float)))


def test_strided_gradients(engine):
    wide = np.repeat(GRADS, 2, axis=1)
    result = replay(ADAMW, THETA, lambda t, a, b: wide[t - 1, ::2][a:b], OPTIONS, MULTIPLIERS, engine=engine)
    np.testing.assert_array_equal(result, stepped(ADAMW, OPTIONS))


def test_scalar_parameter(engine):
    result = replay(ADAMW, THETA[0], read_block, OPTIONS, MULTIPLIERS, engine=engine)
    assert result.shape == ()
    assert result == stepped(ADAMW, OPTIONS)[0]


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_empty_parameter_reads_nothing(engine, shape):
    def refuse(step, start, stop):
        raise AssertionError("nothing to read")

    assert replay(ADAMW, np.empty(shape), refuse, OPTIONS, MULTIPLIERS, engine=engine).shape == shape


def test_no_steps(engine):
    result = replay(ADAMW, THETA, read_block, OPTIONS, [], engine=engine)
    np.testing.assert_array_equal(result, THETA)
    assert not np.shares_memory(result, THETA)


@pytest.mark.parametrize("returned", [GRADS[0, :1], GRADS[0, :50], GRADS[0, :100].reshape(10, 10)])
def test_gradient_block_of_the_wrong_shape_is_refused(engine, returned):
    message = f"read_block(1, 0, 100) returned shape {returned.shape}, but the block has shape (100,)"
    with pytest.raises(ValueError, match=re.escape(message)):
        replay(ADAMW, THETA, lambda t, a, b: returned, OPTIONS, MULTIPLIERS, engine=engine, block_size=100)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("adamw", AdamOptions(), "rule 'adamw' takes AdamWOptions, but got AdamOptions"),
        ("adam_l2", OPTIONS, "rule 'adam_l2' takes AdamOptions, but got AdamWOptions"),
        ("sgdw", SGDOptions(lr=0.1), "rule 'sgdw' takes SGDWOptions, but got SGDOptions"),
    ],
)
def test_options_of_another_rule_are_refused(name, options, message):
    with pytest.raises(TypeError, match=message):
        replay(RULES[name], THETA, read_block, options, MULTIPLIERS)


@pytest.mark.parametrize("block_size", [0, -5])
def test_blocks_of_nothing_are_refused(block_size):
    """A negative size would go over no block at all and hand back theta_0."""
    with pytest.raises(ValueError, match=f"block_size = {block_size}, but a block must hold at least one coordinate"):
        replay(ADAMW, THETA, read_block, OPTIONS, MULTIPLIERS, block_size=block_size)


@pytest.mark.parametrize("amsgrad", AMSGrad)
def test_engines_agree_on_what_overflow_leaves(amsgrad):
    """With beta2 = 0 an infinite v becomes NaN in the next step, which no maximum may drop."""
    pytest.importorskip("numba")
    options = AdamWOptions(lr=0.1, beta2=0.0, amsgrad=amsgrad)
    grads = np.array([[1e200, -1e200, 1.0], [1e-3, 1e200, 2.0], [1.0, 1.0, 1.0]])

    def result(engine):
        return replay(ADAMW, np.ones(3), lambda t, a, b: grads[t - 1, a:b], options, [1.0] * 3, engine=engine)

    with np.errstate(over="ignore", invalid="ignore"):
        expected = result("numpy")
    assert np.isnan(expected).tolist() == [True, True, False]
    np.testing.assert_array_equal(result("compiled"), expected)


def test_unknown_engine_is_refused():
    with pytest.raises(ValueError, match="engine = 'cython', but it must be one of 'auto', 'numpy', 'compiled'"):
        replay(ADAMW, THETA, read_block, OPTIONS, MULTIPLIERS, engine="cython")


def test_without_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "optconform.reference.compiled", raising=False)
    with pytest.raises(
        ModuleNotFoundError, match=r"needs Numba, which is not installed: pip install 'optconform\[fast\]'"
    ):
        replay(ADAMW, THETA, read_block, OPTIONS, MULTIPLIERS, engine="compiled")
    result = replay(ADAMW, THETA, read_block, OPTIONS, MULTIPLIERS, engine="auto")
    np.testing.assert_array_equal(result, stepped(ADAMW, OPTIONS))


def test_another_missing_module_is_not_taken_for_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "optconform.reference.compiled", None)
    with pytest.raises(ModuleNotFoundError, match=r"optconform\.reference\.compiled"):
        replay(ADAMW, THETA, read_block, OPTIONS, MULTIPLIERS, engine="compiled")


def test_memory_does_not_grow_with_the_number_of_steps(engine):
    size = 20_000
    theta = np.ones(size)
    grad = np.linspace(-1.0, 1.0, 4096)

    def peak(steps):
        multipliers = [1.0] * steps
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        replay(ADAMW, theta, lambda t, a, b: grad[: b - a] * t, OPTIONS, multipliers, engine=engine, block_size=4096)
        return tracemalloc.get_traced_memory()[1] - before

    peak(1)  # imports and compiles
    tracemalloc.start()
    try:
        few, many = peak(10), peak(400)
    finally:
        tracemalloc.stop()
    # One array of the block's size more per step would be 390 * 32 kB; the Python objects of a call are a few kB.
    assert many <= few + 4096 * 8
