"""Following an implementation step by step: the NumPy engine is `tracked_step`, in every mode and block size."""

from __future__ import annotations

import numpy as np
import pytest
from arithmetics import assumed, machines
from bound_check import MODES, gradients, parameters, run
from evaluation_orders import Choice, Implementation, rounded_like

from optconform.reference import RULES, AMSGrad, DecayLaw
from optconform.reference.comparison import Beside
from optconform.reference.follow import Follower, Mode, state_slots
from optconform.reference.rules import track, tracked_step

SIZE, STEPS = 37, 6
MULTIPLIERS = [1.0, 0.5, 0.1, 1.0, 0.0, 0.7]
FLOAT32 = assumed("float32")
OPTIONS = {
    "sgd_l2": {"lr": 0.05, "weight_decay": 0.3, "momentum": 0.9},
    "sgdw": {"lr": 0.05, "weight_decay": 0.3, "momentum": 0.9, "nesterov": True},
    "adam_l2": {"lr": 0.05, "weight_decay": 0.3, "amsgrad": AMSGrad.RAW},
    "adamw": {"lr": 0.05, "weight_decay": 0.3, "law": DecayLaw.LR_WD},
}
SLOT_OF = {"buffer": "momentum"}


def options_of(name, **changes):
    return RULES[name].options(**OPTIONS[name] | changes)


def conforming(name, arithmetic="float32"):
    """Return (thetas from 0 on, gradients, states by slot) of an implementation in that arithmetic."""
    rng = np.random.default_rng(4)
    grads = rounded_like(gradients(rng, STEPS, SIZE, low=-3.0, high=2.0), arithmetic)
    thetas, states = [rounded_like(parameters(rng, SIZE), arithmetic)], []
    choice = Choice(decay="one sum" if RULES[name].decoupled else None)
    made = Implementation(RULES[name], options_of(name), choice, *machines(arithmetic))
    for grad, eta in zip(grads, MULTIPLIERS, strict=True):
        thetas.append(made.step(thetas[-1], grad, eta))
        states.append({SLOT_OF.get(field, field): array.copy() for field, array in made.state.items()})
    return thetas, grads, states


def followed(name, run_of, mode=Mode.THETA_RESYNC, *, rule=None, options=None, block_size=None, **each):
    """Follow a run; return the `Follower` and what it found in every step."""
    thetas, grads, states = run_of
    follower = Follower(rule or RULES[name], options or options_of(name), thetas[0], FLOAT32, mode=mode,
                        block_size=block_size)  # fmt: skip
    found = [
        follower.step(thetas[t], grads[t], thetas[t + 1], MULTIPLIERS[t], state_after=states[t], **each)
        for t in range(STEPS)
    ]
    return follower, found


def modes_of(name):
    return [mode for mode in Mode if mode is not Mode.FREE_RUN or RULES[name].decoupled]


CASES = [pytest.param(name, mode, id=f"{name}-{mode}") for name in RULES for mode in modes_of(name)]


def test_every_mode_is_tried():
    assert set(MODES) == {str(mode) for mode in Mode}


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_a_conforming_run_is_inside(name, mode):
    for step in followed(name, conforming(name), mode)[1]:
        assert 0.0 <= step.comparison.ratio <= 1.0
        assert step.comparison.compared + step.comparison.undecidable == SIZE


@pytest.mark.parametrize("block_size", [1, 8, 36, 37, 100])
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_blocks_change_nothing(name, mode, block_size):
    run_of, keep = conforming(name), np.array([0, 7, 8, 9, 36])
    whole, blocks = (followed(name, run_of, mode, block_size=size, keep=keep)[1] for size in (None, block_size))
    for one, other in zip(whole, blocks, strict=True):
        assert one.comparison == other.comparison
        np.testing.assert_array_equal(one.kept.theta, other.kept.theta)
        np.testing.assert_array_equal(one.kept.bound, other.kept.bound)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_it_is_tracked_step(name, mode):
    """The worst ratio of a loop over `tracked_step` that takes over what the mode says."""
    rng, rule, options = np.random.default_rng(4), RULES[name], options_of(name)
    grads = rounded_like(gradients(rng, STEPS, SIZE, low=-3.0, high=2.0), "float32")
    theta = rounded_like(parameters(rng, SIZE), "float32")
    made = Implementation(rule, options, Choice(decay="one sum" if rule.decoupled else None), *machines("float32"))
    expected = run(rule, options, made, FLOAT32, theta, grads, MULTIPLIERS, str(mode))
    found = followed(name, conforming(name), mode)[1]
    assert max(step.comparison.ratio for step in found) == expected.worst > 0.0
    if mode is not Mode.FREE_RUN:
        # Running free, the parameters before the step are the reference's own, which `run` counts alike.
        assert sum(step.comparison.compared for step in found) == expected.decidable


def test_kept_coordinates_hold_theta_and_the_bound_with_its_allowance():
    name, keep = "adamw", np.array([3, 20])
    thetas, grads, _ = conforming(name)
    tracked = track(thetas[0], options_of(name))
    for t, step in enumerate(followed(name, conforming(name), keep=keep)[1]):
        expected, bound, tracked = tracked_step(
            RULES[name], thetas[t], grads[t], tracked, options_of(name), MULTIPLIERS[t], FLOAT32
        )
        np.testing.assert_array_equal(step.kept.theta, expected[keep])
        np.testing.assert_array_equal(step.kept.bound, FLOAT32.allowance * bound[keep])


def test_nothing_is_kept_unless_asked_for():
    assert all(step.kept is None for step in followed("adamw", conforming("adamw"))[1])


@pytest.mark.parametrize("block_size", [8, None])
def test_beside_a_rule_that_cannot_be_told_apart_nothing_counts(block_size):
    """L2 is far from this run, but beside itself there is no element that tells the two apart."""
    thetas, grads, _ = conforming("adamw")
    l2, options = RULES["adam_l2"], RULES["adam_l2"].options(lr=0.05, weight_decay=0.3)
    alone, together, nobody = (Follower(l2, options, thetas[0], FLOAT32, block_size=block_size) for _ in range(3))
    own = Follower(RULES["adamw"], options_of("adamw"), thetas[0], FLOAT32, block_size=block_size)
    everywhere, worst = np.arange(SIZE), [0.0, 0.0, 0.0]
    for t in range(STEPS):
        step = thetas[t], grads[t], thetas[t + 1], MULTIPLIERS[t]
        accepted = own.step(*step, keep=everywhere).kept
        unknown = Beside(accepted.theta, np.full(SIZE, np.inf))
        for i, (rival, beside) in enumerate(((alone, None), (together, accepted), (nobody, unknown))):
            worst[i] = max(worst[i], rival.step(*step, beside=beside).comparison.ratio)
    assert worst[0] > 1e3
    assert worst[1] == worst[0]
    assert worst[2] == 0.0


@pytest.mark.parametrize("element", [0, 20, 36])
def test_a_wrong_parameter_is_found_where_it_is(element):
    thetas, grads, states = conforming("adamw")
    thetas[3][element] *= 1.0 + 1e-3
    for block_size in (8, None):
        found = followed("adamw", (thetas, grads, states), block_size=block_size)[1]
        assert found[1].comparison.ratio <= 1.0 < found[2].comparison.ratio
        assert found[2].comparison.element == element
        assert found[2].comparison.found == thetas[3][element]


def test_a_free_run_does_not_forget():
    """A parameter that was pushed once stays wrong for good, unlike under resynchronisation."""
    thetas, grads, states = conforming("adamw")
    pushed = [theta.copy() for theta in thetas]
    for theta in pushed[2:]:
        theta[5] += 0.25
    found = followed("adamw", (pushed, grads, states), Mode.FREE_RUN)[1]
    assert found[0].comparison.ratio <= 1.0
    assert all(step.comparison.ratio > 1.0 and step.comparison.element == 5 for step in found[1:])


@pytest.mark.parametrize(("name", "slot"), [("adamw", "m"), ("adamw", "v"), ("adam_l2", "v_max"), ("sgdw", "momentum")])
def test_full_resync_compares_the_state(name, slot):
    thetas, grads, states = conforming(name)
    element = int(np.argmax(np.abs(states[2][slot])))
    states[2][slot][element] *= 1.0 + 1e-4
    for block_size in (8, None):
        resync = followed(name, (thetas, grads, states), Mode.FULL_RESYNC, block_size=block_size)[1]
        assert resync[1].comparison.ratio <= 1.0 < resync[2].comparison.ratio
        assert (resync[2].comparison.element, resync[2].comparison.found) == (element, states[2][slot][element])
        assert resync[2].comparison.compared + resync[2].comparison.undecidable == SIZE
    by_theta = followed(name, (thetas, grads, states))[1]
    assert all(step.comparison.ratio <= 1.0 for step in by_theta)


def test_full_resync_takes_the_state_over():
    """An implementation that starts from moments of its own: only the first step does not conform."""
    name = "adamw"
    thetas, grads, _ = conforming(name)
    made = Implementation(RULES[name], options_of(name), Choice(decay="one sum"), *machines("float32"))
    made.state = {"m": np.full(SIZE, 0.5), "v": np.full(SIZE, 0.25)}
    thetas, states = thetas[:1], []
    for t in range(STEPS):
        thetas.append(made.step(thetas[-1], grads[t], MULTIPLIERS[t]))
        states.append({field: array.copy() for field, array in made.state.items()})
    ratios = [step.comparison.ratio for step in followed(name, (thetas, grads, states), Mode.FULL_RESYNC)[1]]
    assert ratios[0] > 1e3
    assert max(ratios[1:]) <= 1.0
    assert followed(name, (thetas, grads, states))[1][1].comparison.ratio > 1e3


@pytest.mark.parametrize("states", [None, {}, {"m": np.zeros(SIZE)}])
def test_full_resync_names_the_missing_slot(states):
    thetas, grads, _ = conforming("adamw")
    follower = Follower(RULES["adamw"], options_of("adamw"), thetas[0], FLOAT32, mode=Mode.FULL_RESYNC)
    missing = "v" if states else "m"
    with pytest.raises(KeyError, match=f"full resync needs the implementation's '{missing}', but its state has none"):
        follower.step(thetas[0], grads[0], thetas[1], state_after=states)


@pytest.mark.parametrize("name", ["sgd_l2", "adam_l2"])
def test_l2_does_not_run_free(name):
    with pytest.raises(ValueError, match=f"rule '{name}' cannot run free: L2 feeds"):
        Follower(RULES[name], options_of(name), np.zeros(2), FLOAT32, mode=Mode.FREE_RUN)
    without = options_of(name, weight_decay=0.0)
    assert Follower(RULES[name], without, np.zeros(2), FLOAT32, mode=Mode.FREE_RUN).mode is Mode.FREE_RUN


def test_a_thread_is_needed():
    with pytest.raises(ValueError, match="threads = 0"):
        Follower(RULES["adamw"], options_of("adamw"), np.zeros(2), FLOAT32, threads=0)


@pytest.mark.parametrize("mode", [Mode.THETA_RESYNC, Mode.FREE_RUN])
def test_a_skipped_step_must_not_move(mode):
    thetas, grads, _ = conforming("adamw")
    follower = Follower(RULES["adamw"], options_of("adamw"), thetas[0], FLOAT32, mode=mode)
    follower.step(thetas[0], grads[0], thetas[1])
    same = follower.skip(thetas[1], thetas[1], counts_step=False)
    assert same.ratio <= 1.0
    assert (same.compared, same.undecidable) == (0, 0)
    moved = thetas[1].copy()
    moved[11] += 1.0
    found = follower.skip(thetas[1], moved, counts_step=False)
    assert (found.ratio > 1e3, found.element) == (True, 11)


@pytest.mark.parametrize("counts_step", [False, True])
def test_a_skipped_step_counts_if_said_so(counts_step):
    """The bias corrections of the next step tell how many steps were counted."""
    thetas, grads, _ = conforming("adamw")
    options = options_of("adamw")
    follower = Follower(RULES["adamw"], options, thetas[0], FLOAT32)
    follower.skip(thetas[0], thetas[0], counts_step=counts_step)
    kept = follower.step(thetas[0], grads[0], thetas[1], keep=np.arange(SIZE)).kept
    tracked = track(thetas[0], options)
    state = type(tracked.state)(int(counts_step), tracked.state.m, tracked.state.v)
    expected, _, _ = tracked_step(RULES["adamw"], thetas[0], grads[0], type(tracked)(state, tracked.error), options)
    np.testing.assert_array_equal(kept.theta, expected)


def test_any_dtype_is_taken_as_exact():
    thetas, grads, states = conforming("adamw")
    narrow = [[array.astype(np.float32) for array in arrays] for arrays in (thetas, grads)]
    wide, same = (followed("adamw", (*arrays, states))[1] for arrays in ((thetas, grads), narrow))
    assert [step.comparison for step in wide] == [step.comparison for step in same]


def test_slots_that_full_resync_needs():
    assert state_slots(options_of("adamw")) == {"m", "v"}
    assert state_slots(options_of("adam_l2")) == {"m", "v", "v_max"}
    assert state_slots(options_of("sgdw")) == {"momentum"}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("met_after", [1, 4])
def test_an_implementation_may_be_met_on_its_way(name, met_after):
    thetas, grads, states = conforming(name)

    def follow(**begun):
        follower = Follower(RULES[name], options_of(name), thetas[met_after], FLOAT32, **begun)
        steps = range(met_after, STEPS)
        found = [follower.step(thetas[t], grads[t], thetas[t + 1], MULTIPLIERS[t]).comparison for t in steps]
        return max(each.ratio for each in found)

    begun = {"state_before": states[met_after - 1], "steps_before": met_after}
    assert follow(**begun) <= 1.0
    assert follow() > 1.0
    if name.startswith("adam"):  # which counts: without its own number a step is another one
        assert follow(**begun | {"steps_before": 0}) > 1.0


def test_met_on_its_way_the_state_is_exact_and_not_the_callers():
    _, grads, states = conforming("adamw")
    given = {slot: array.copy() for slot, array in states[2].items()}
    follower = Follower(
        RULES["adamw"], options_of("adamw"), np.zeros(SIZE), FLOAT32, state_before=given, steps_before=3
    )
    tracked = follower._tracked
    assert tracked.state.step == 3
    assert all(np.array_equal(getattr(tracked.state, slot), states[2][slot]) for slot in ("m", "v"))
    assert not tracked.error.m.any()
    assert not tracked.error.v.any()
    follower.step(np.zeros(SIZE), grads[3], np.zeros(SIZE))
    assert all(np.array_equal(given[slot], states[2][slot]) for slot in ("m", "v"))


@pytest.mark.parametrize("name", RULES)
def test_hyperparameters_may_change_from_step_to_step(name):
    rng = np.random.default_rng(11)
    theta, grads = parameters(rng, SIZE), gradients(rng, STEPS, SIZE)
    varied = "beta1" if name.startswith("adam") else "momentum"
    courses = [options_of(name, **{varied: 0.9 - 0.1 * t, "weight_decay": 0.1 * t}) for t in range(STEPS)]
    follower, constant = (Follower(RULES[name], courses[0], theta, FLOAT32) for _ in range(2))
    tracked = track(theta, courses[0])
    for options, grad in zip(courses, grads, strict=True):
        reached, _, tracked = tracked_step(RULES[name], theta, grad, tracked, options, 1.0, FLOAT32)
        follower.change(options)
        assert follower.step(theta, grad, reached).comparison.ratio == 0.0
        last = constant.step(theta, grad, reached).comparison
        theta = reached
    assert last.ratio > 1.0
