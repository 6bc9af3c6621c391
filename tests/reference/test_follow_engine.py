"""The compiled engine of `follow` equals the NumPy form bit for bit: theta_t, every bound, and what is compared."""

from __future__ import annotations

import itertools
from dataclasses import fields

import numpy as np
import pytest

from optconform.reference import RULES, AMSGrad, BiasCorrection, DecayLaw, DecayOrder, Epsilon, Momentum
from optconform.reference.arithmetic import arithmetic
from optconform.reference.comparison import Beside
from optconform.reference.follow import Follower, Mode
from optconform.reference.platforms import PLATFORMS

STEPS, SIZE = 6, 400
MULTIPLIERS = (1.0, 0.3, 0.7)
SAME_WORK = [
    ("float64", None, "cpu"),
    ("float32", None, "xla-gpu"),
    ("bfloat16", None, "cpu"),
    ("float16", None, "cpu"),
]
NARROW_STORAGE = [("bfloat16", "float32", "cpu"), ("float16", "float32", "xla-cpu")]
DECAYS = [
    *(("adamw", "sgdw", {"order": order}) for order in DecayOrder),
    ("adam_l2", "sgd_l2", {}),
    ("adam_l2", "sgd_l2", {"weight_decay": 0.0}),
]


def trace():
    """theta_0 and gradients over sixteen decades; zeros, and what overflows, underflows or is no number at all."""
    rng = np.random.default_rng(3)
    grads = rng.choice([-1.0, 1.0], (STEPS, SIZE)) * 10.0 ** rng.uniform(-12, 4, (STEPS, SIZE))
    grads[rng.random((STEPS, SIZE)) < 0.15] = 0.0
    grads[:, :20] = 0.0
    for block, factor in ((20, 1e-30), (30, 1e-150), (40, 1e15), (50, 1e150)):
        grads[:, block : block + 10] *= factor
    grads[3, 60:62], grads[4, 62] = np.inf, np.nan
    theta = rng.standard_normal(SIZE)
    theta[70:80], theta[80:90], theta[90:95] = 0.0, theta[80:90] * 1e-40, theta[90:95] * 1e300
    return theta, grads


THETA, GRADS = trace()


def axis_combinations():
    """Every placement of epsilon with every maximum, and both momenta; decays, storages and modes take turns.

    A combination takes seconds to compile, so not every one of each is tried with every one of the others.
    """
    of_all = list(itertools.product(DECAYS, (SAME_WORK, NARROW_STORAGE), (Mode.THETA_RESYNC, Mode.FREE_RUN)))
    turns = (of_all[7 * turn % len(of_all)] for turn in itertools.count())
    for epsilon, amsgrad in itertools.product(Epsilon, AMSGrad):
        (rule, _, decay), formats, mode = next(turns)
        inner = [{"bias_correction": each} for each in BiasCorrection] + [{"beta1": 0.0, "beta2": 0.3, "eps": 0.0}]
        common = {"lr": 0.05, "beta1": 0.9, "beta2": 0.97, "eps": 1e-6, "epsilon": epsilon, "amsgrad": amsgrad}
        yield rule, [common | {"weight_decay": 0.3} | decay | each for each in inner], formats, mode
    for nesterov, form in itertools.product((False, True), Momentum):
        for _ in range(2):
            (_, rule, decay), formats, mode = next(turns)
            inner = [{"momentum": mu, "dampening": damp} for mu, damp in ((0.9, 0.0), (0.0, 0.0), (0.9, 0.3))]
            common = {"lr": 0.05, "weight_decay": 0.3, "nesterov": nesterov, "momentum_form": form}
            yield rule, [common | decay | each for each in inner], formats, mode


def laws(rule):
    return [{"law": law} for law in DecayLaw] if RULES[rule].decoupled else [{}]


@pytest.mark.parametrize(
    ("rule", "combinations", "formats", "mode"),
    [pytest.param(*each, id=f"{each[0]}-{number}") for number, each in enumerate(axis_combinations())],
)
def test_compiled_engine_is_the_numpy_form_bit_for_bit(rule, combinations, formats, mode):
    pytest.importorskip("numba")
    law = itertools.cycle(laws(rule))
    for values, (dtype, working, platform) in itertools.product(combinations, formats):
        options = RULES[rule].options(**values | next(law))
        coupled = not RULES[rule].decoupled and options.weight_decay
        judged_in = arithmetic(dtype, PLATFORMS[platform], working=working)
        agree(rule, options, judged_in, Mode.THETA_RESYNC if coupled else mode)


@pytest.mark.parametrize("rule", ["adamw", "sgdw"])
def test_steps_in_which_nothing_decays(rule):
    """A schedule that reaches 0 leaves no decay, and a loop of its own."""
    pytest.importorskip("numba")
    options = RULES[rule].options(lr=0.05, weight_decay=0.3)
    agree(rule, options, arithmetic("float32"), Mode.THETA_RESYNC, multipliers=(1.0, 0.0))


def agree(rule, options, judged_in, mode, multipliers=MULTIPLIERS):
    one = Follower(RULES[rule], options, THETA, judged_in, mode=mode, engine="numpy", block_size=70)
    two = Follower(RULES[rule], options, THETA, judged_in, mode=mode, engine="compiled", block_size=150)
    keep = np.flatnonzero(np.random.default_rng(1).random(SIZE) < 0.1)
    theta, beside = THETA, None
    for index, grad in enumerate(GRADS):
        after = theta * (1.0 - 1e-3) + 1e-7 * np.sign(grad)
        after[5] = np.nan if index == 4 else after[5]
        found = [
            each.step(theta, grad, after, multipliers[index % len(multipliers)], beside=beside, keep=keep)
            for each in (one, two)
        ]
        where = f"{options} {judged_in} {mode} step {index + 1}"
        assert repr(found[0].comparison) == repr(found[1].comparison), where
        for left, right in zip(arrays(one) + kept(found[0]), arrays(two) + kept(found[1]), strict=True):
            np.testing.assert_array_equal(left, right, err_msg=where)
        beside = Beside(after, np.abs(after) * 1e-8) if index % 2 else None
        theta = after


def arrays(follower):
    parts = (follower._tracked.state, follower._tracked.error)
    return [getattr(part, field.name) for part in parts for field in fields(part)] + list(follower._free or ())


def kept(followed):
    return [followed.kept.theta, followed.kept.bound]


ADAMW = RULES["adamw"]
OPTIONS = ADAMW.options(lr=0.05, weight_decay=0.3)


@pytest.fixture(params=["numpy", "compiled"])
def engine(request):
    if request.param == "compiled":
        pytest.importorskip("numba")
    return request.param


def followed(engine, dtype=np.float64, **keywords):
    theta, grads = np.array(THETA, dtype=dtype), np.array(GRADS, dtype=dtype)
    follower = Follower(ADAMW, OPTIONS, theta, arithmetic("float32"), engine=engine, **keywords)
    keep = np.arange(0, SIZE, 7)
    steps = [follower.step(theta, grad, theta * dtype(0.98), keep=keep) for grad in grads]
    return [repr(step.comparison) for step in steps], [step.kept.bound for step in steps]


@pytest.mark.parametrize("threads", [2, 3])
def test_results_do_not_depend_on_the_number_of_threads(engine, threads):
    with np.errstate(all="ignore"):
        alone, bounds = followed(engine, block_size=30)
        shared, others = followed(engine, block_size=30, threads=threads)
        whole, _ = followed(engine)
    assert alone == shared == whole
    np.testing.assert_array_equal(bounds, others)


def test_fewer_than_one_thread_is_refused():
    with pytest.raises(ValueError, match="threads = 0, but it takes at least one"):
        followed("numpy", threads=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_narrow_arrays_are_widened_before_anything_is_computed(dtype):
    pytest.importorskip("numba")
    with np.errstate(all="ignore"):
        expected, bounds = followed("numpy", dtype)
        found, others = followed("compiled", dtype)
    assert expected == found
    np.testing.assert_array_equal(bounds, others)


def test_arrays_that_cannot_be_written_are_read(engine):
    theta, grad = THETA.copy(), GRADS[0].copy()
    theta.flags.writeable = grad.flags.writeable = False
    follower = Follower(ADAMW, OPTIONS, theta, arithmetic("float32"), engine=engine)
    assert follower.step(theta, grad, theta).comparison.ratio > 1.0


def test_a_bias_correction_that_may_vanish_bounds_nothing(engine):
    """With beta2 this near to 1, float32 may round it to 1, and 1 - beta2**t to 0."""
    options = ADAMW.options(lr=0.05, weight_decay=0.3, beta2=1.0 - 1e-9)
    follower = Follower(ADAMW, options, THETA, arithmetic("float32"), engine=engine)
    comparison = follower.step(THETA, GRADS[0], THETA + 1.0).comparison
    assert (comparison.ratio, comparison.compared, comparison.undecidable) == (0.0, 0, SIZE)


def test_the_first_of_the_worst_elements_is_named(engine):
    theta = np.ones(5000)
    grad = np.ones(5000)
    follower = Follower(ADAMW, OPTIONS, theta, arithmetic("float32"), engine=engine, block_size=4096)
    after = np.full(5000, np.nan)
    after[:2100] = 0.5
    comparison = follower.step(theta, grad, after).comparison
    assert (comparison.ratio, comparison.element) == (np.inf, 2100)


@pytest.mark.parametrize("mode", [Mode.FULL_RESYNC])
def test_full_resync_takes_the_moments_over(mode):
    pytest.importorskip("numba")
    found = []
    for name in ("numpy", "compiled"):
        follower = Follower(ADAMW, OPTIONS, THETA, arithmetic("bfloat16"), mode=mode, engine=name, block_size=150)
        state = {"m": np.linspace(-1, 1, SIZE), "v": np.linspace(0, 1, SIZE)}
        with np.errstate(all="ignore"):
            found.append([repr(follower.step(THETA, grad, THETA, state_after=state).comparison) for grad in GRADS])
        np.testing.assert_array_equal(follower._tracked.state.m, state["m"])
        assert not follower._tracked.error.v.any()
    assert found[0] == found[1]


def test_met_on_its_way_and_with_changing_hyperparameters_it_is_the_numpy_form():
    pytest.importorskip("numba")
    theta, grads = np.random.default_rng(5).standard_normal((2, SIZE))
    start = {"state_before": {"m": 0.1 * grads, "v": grads * grads}, "steps_before": 7}
    options = RULES["adamw"].options(lr=0.05, weight_decay=0.3)
    changed = RULES["adamw"].options(lr=0.05, weight_decay=0.1, beta1=0.8)
    numpy, compiled = (
        Follower(RULES["adamw"], options, theta, arithmetic("float64"), engine=engine, **start)
        for engine in ("numpy", "compiled")
    )
    for each in (options, changed):
        found = []
        for follower in (numpy, compiled):
            follower.change(each)
            found.append(follower.step(theta, grads, theta, keep=np.arange(SIZE)))
        assert found[0].comparison == found[1].comparison
        np.testing.assert_array_equal(found[0].kept.theta, found[1].kept.theta)
        np.testing.assert_array_equal(found[0].kept.bound, found[1].kept.bound)
