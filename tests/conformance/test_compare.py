"""Two optimizers compared: the same path or not, which axis explains it, and values that a replay has confirmed."""

from dataclasses import replace as replaced
from typing import ClassVar

import numpy as np
import pytest

import optconform
from optconform.adapters.numpy_array import NumPyAdapter
from optconform.adapters.protocol import MissingGradient
from optconform.conformance.axis_differences import CASTS, KIND, differences, nearest_pair
from optconform.conformance.compare import compare, values_of
from optconform.conformance.compare_result import Outcome
from optconform.conformance.following import follow
from optconform.conformance.hypotheses import AXES, Hypothesis
from optconform.conformance.side_by_side import side_by_side
from optconform.conformance.translation import _EXACT, translated
from optconform.reference import RULES, AdamWOptions, DecayLaw, DecayOrder, Epsilon, SGDOptions, SGDWOptions
from optconform.reference.options import AMSGrad, BiasCorrection, Momentum
from optconform.reference.rules import track

ADAMW, SGDW = (f"optconform.adapters.numpy_optimizers:{name}" for name in ("AdamW", "SGDW"))
SCHEDULE = (1.0, 0.5, 0.75, 0.25, 1.0, 0.125)


class Ruled:
    """A rule of the reference as an optimizer: `axes` are those of its options that no constructor sets."""

    axes: ClassVar[dict] = {}
    rule = "adamw"

    def __init__(self, lr=0.1, weight_decay=0.0, beta1=0.9, beta2=0.99, eps=1e-3):
        values = {"lr": lr, "weight_decay": weight_decay, "beta1": beta1, "beta2": beta2, "eps": eps}
        self._start(values)
        self.lr, self.weight_decay, self.beta1, self.beta2, self.eps = values.values()

    def _start(self, values):
        self.options = RULES[self.rule].options(**values, **self.axes)
        self.states = {}

    def step(self, params, grads, lr):
        moved = {}
        for name, theta in params.items():
            if grads[name] is None:
                moved[name] = theta
                continue
            state = self.states.get(name) or track(theta, self.options).state
            moved[name], self.states[name] = RULES[self.rule].step(
                theta, grads[name], state, self.options, lr / self.options.lr
            )
        return moved


class RuledSGD(Ruled):
    rule = "sgdw"

    def __init__(self, lr=0.1, weight_decay=0.0, momentum=0.9):
        self._start({"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.lr, self.weight_decay, self.momentum = lr, weight_decay, momentum


def adam(rule="adamw", **axes):
    axes = {"law": DecayLaw.LR_WD, **axes} if rule == "adamw" else axes
    return type("Adam", (Ruled,), {"rule": rule, "axes": axes})


def sgd(rule="sgdw", **axes):
    axes = {"law": DecayLaw.LR_WD, **axes} if rule == "sgdw" else axes
    return type("SGD", (RuledSGD,), {"rule": rule, "axes": axes})


@pytest.fixture
def compared(subject_of, make_trace):
    """Compare two targets on one small trace."""

    def run(first, second, first_options=None, second_options=None, schedule=SCHEDULE, dtype="float64"):
        one, other = (
            replaced(subject_of(target, **(options or {})), dtype=dtype)
            for target, options in ((first, first_options), (second, second_options))
        )
        return compare(one, other, [make_trace(multipliers=schedule)])

    return run


def names(result):
    return {difference.name for difference in result.differences if difference.shows}


CONSTANT = (1.0,) * 6
COUPLED = DecayLaw.LR_WD
PAPER = DecayLaw.SCHEDULE_WD
FIXED = DecayLaw.WD

CARRIED_OVER = {
    "law to schedule": (adam(), adam(law=PAPER), {"weight_decay": 0.5}, SCHEDULE, {"weight_decay": 0.05}),
    "law from schedule": (adam(law=PAPER), adam(), {"weight_decay": 0.02}, SCHEDULE, {"weight_decay": 0.2}),
    "law to wd": (adam(), adam(law=FIXED), {"weight_decay": 0.5}, CONSTANT, {"weight_decay": 0.05}),
    "law to wd at half the rate": (adam(), adam(law=FIXED), {"weight_decay": 0.5}, (0.5,) * 6, {"weight_decay": 0.025}),
    "updated to proximal": (
        adam(order=DecayOrder.UPDATED),
        adam(order=DecayOrder.PROXIMAL),
        {"weight_decay": 2.0},
        CONSTANT,
        {"weight_decay": 0.2 / 0.8 / 0.1},
    ),
    "proximal to updated": (
        adam(order=DecayOrder.PROXIMAL),
        adam(order=DecayOrder.UPDATED),
        {"weight_decay": 2.5},
        CONSTANT,
        {"weight_decay": 0.25 / 1.25 / 0.1},
    ),
    "momentum form": (
        sgd(momentum_form=Momentum.LR_INSIDE),
        sgd(momentum_form=Momentum.LR_OUTSIDE),
        {"weight_decay": 0.5, "momentum": 0.5},
        CONSTANT,
        {"weight_decay": 0.5, "momentum": 0.5},
    ),
    "L2 of plain SGD": (
        sgd("sgd_l2"),
        sgd(),
        {"weight_decay": 0.5, "momentum": 0.0},
        SCHEDULE,
        {"weight_decay": 0.5, "momentum": 0.0},
    ),
    "no epsilon to place": (
        adam(),
        adam(epsilon=Epsilon.HAT),
        {"eps": 0.0, "weight_decay": 0.5},
        SCHEDULE,
        {"eps": 0.0, "weight_decay": 0.5},
    ),
    "epsilon without correction": (
        adam(bias_correction=BiasCorrection.OFF),
        adam(bias_correction=BiasCorrection.OFF, epsilon=Epsilon.HAT),
        {"beta2": 0.9},
        SCHEDULE,
        {"beta2": 0.9},
    ),
    "every hyperparameter": (
        adam(),
        adam(),
        {"lr": 0.25, "weight_decay": 0.5, "beta1": 0.5, "beta2": 0.75, "eps": 0.01},
        SCHEDULE,
        {"lr": 0.25, "weight_decay": 0.5, "beta1": 0.5, "beta2": 0.75, "eps": 0.01},
    ),
}


@pytest.mark.parametrize("case", CARRIED_OVER)
def test_values_that_make_the_second_follow_are_found_and_replayed(compared, case):
    first, second, options, schedule, expected = CARRIED_OVER[case]
    result = compared(first, second, options, schedule=schedule)
    assert result.outcome is Outcome.DIFFERENT
    assert result.exit_status == 1
    assert result.translation.exists is True
    assert result.translation.values == pytest.approx(expected, rel=1e-15)
    assert result.translation.ratio <= 1.0
    again = compared(first, second, options, result.translation.values, schedule)
    assert again.outcome is Outcome.SAME


HINDERED = {
    "rule": (adam(), adam("adam_l2"), {"weight_decay": 0.5}, SCHEDULE),
    "law": (adam(), adam(law=FIXED), {"weight_decay": 0.5}, SCHEDULE),
    "order": (adam(), adam(order=DecayOrder.UPDATED), {"weight_decay": 0.5}, CONSTANT),
    "epsilon": (adam(), adam(epsilon=Epsilon.HAT), {}, SCHEDULE),
    "bias_correction": (adam(), adam(bias_correction=BiasCorrection.OFF_BY_ONE), {}, SCHEDULE),
    "momentum_form": (sgd(), sgd(momentum_form=Momentum.LR_OUTSIDE), {}, SCHEDULE),
    "nesterov": (sgd(), sgd(nesterov=True), {}, SCHEDULE),
}


@pytest.mark.parametrize("axis", HINDERED)
def test_an_axis_that_no_values_carry_over_is_named_and_shown(compared, axis):
    first, second, options, schedule = HINDERED[axis]
    result = compared(first, second, options, options, schedule)
    assert result.outcome is Outcome.DIFFERENT
    assert names(result) == {axis}
    assert result.translation.exists is False
    assert [obstacle.axis for obstacle in result.translation.obstacles] == [axis]
    assert result.translation.message.startswith("no such values exist")


def test_epsilon_that_would_have_to_change_is_given_in_numbers(compared):
    to_hat = compared(adam(), adam(epsilon=Epsilon.HAT)).translation.message
    assert "0.0001 in step 1 and 0.000242 in step 6" in to_hat  # 1e-3 * sqrt(1 - 0.99**t)
    from_hat = compared(adam(epsilon=Epsilon.HAT), adam()).translation.message
    assert "0.01 in step 1 and 0.00413 in step 6" in from_hat


@pytest.mark.parametrize("axis", [*AXES, KIND, CASTS])
def test_every_axis_has_a_row(axis):
    assert axis in _EXACT


def test_the_same_target_is_the_same(compared):
    result = compared(ADAMW, ADAMW, {"weight_decay": 0.1}, {"weight_decay": 0.1})
    assert (result.outcome, result.same, int(result.exit_status)) == (Outcome.SAME, True, 0)
    assert (result.judged_by, result.differences, result.translation, result.parting) == ("adamw", (), None, None)
    assert result.ratio <= 1.0
    assert result.elements == 6 * 17


def test_the_parting_is_where_it_is(compared):
    class Late(adam()):
        steps = 0

        def step(self, params, grads, lr):
            self.steps += 1
            moved = super().step(params, grads, lr)
            if self.steps == 4:
                moved["b"][2] += 1e-9
            return moved

    result = compared(adam(), Late)
    parting = result.parting
    assert (parting.trace, parting.step, parting.parameter, parting.element) == ("small", 4, "b", (2,))
    assert parting.found - parting.expected == pytest.approx(1e-9, rel=1e-4)
    assert "they part at step 4 of small, 'b'[2]" in result.reason
    assert "B follows no rule of the reference (nearest: adamw" in result.reason
    turned = compared(Late, adam())
    assert turned.parting.step == 4
    assert "A is at" in turned.reason


def test_decays_that_make_up_for_each_other_are_the_same(compared):
    result = compared(adam(), adam(law=PAPER), {"weight_decay": 0.5}, {"weight_decay": 0.05})
    assert result.outcome is Outcome.SAME
    assert {difference.name for difference in result.differences} == {"law", "weight_decay"}
    assert "does not show here" in result.reason


def test_decays_that_make_up_for_each_other_explain_nothing(compared):
    result = compared(adam(), adam(law=PAPER), {"weight_decay": 0.5}, {"weight_decay": 0.05, "eps": 0.1})
    assert names(result) == {"eps"}
    assert {each.name for each in result.differences if each.shows is False} == {"law", "weight_decay"}


def test_a_difference_that_shows_only_later_says_from_which_step_on(compared):
    result = compared(sgd(), sgd(), {"momentum": 0.9}, {"momentum": 0.8})
    (difference,) = result.differences
    assert (difference.name, difference.shows, difference.step) == ("momentum", True, 2)


def test_sgd_and_adam_share_nothing(compared):
    result = compared(adam(), sgd())
    assert names(result) == {"rule"}
    assert result.translation.exists is False
    assert "SGD and Adam" in result.translation.message


def test_a_kind_hidden_without_decay_is_seen_when_the_values_are_tried(compared):
    result = compared(adam(), adam("adam_l2"), {"weight_decay": 0.5}, {"weight_decay": 0.0})
    assert names(result) == {"weight_decay"}
    assert result.translation.exists is False
    assert [obstacle.axis for obstacle in result.translation.obstacles] == ["rule"]


class Switched(Ruled):
    """Adam whose kind of decay an option chooses."""

    def __init__(self, lr=0.1, weight_decay=0.0, beta1=0.9, beta2=0.99, eps=1e-3, decoupled=False):
        self.rule = "adamw" if decoupled else "adam_l2"
        self.axes = {"law": COUPLED} if decoupled else {}
        super().__init__(lr, weight_decay, beta1, beta2, eps)
        self.decoupled = decoupled


@pytest.mark.parametrize("weight_decay", [0.0, 0.25])
def test_an_option_that_chooses_on_the_axis_is_set(compared, weight_decay):
    result = compared(adam(), Switched, {"weight_decay": 0.5}, {"weight_decay": weight_decay})
    assert result.translation.exists is True
    assert result.translation.values == {"weight_decay": 0.5, "decoupled": True}


def test_a_value_without_an_option_stands_in_the_way(compared):
    class NoEpsilon(adam()):
        def __init__(self, lr=0.1, weight_decay=0.0, beta1=0.9, beta2=0.99):
            super().__init__(lr, weight_decay, beta1, beta2, 1e-8)
            self.eps = 1e-8

    result = compared(adam(), NoEpsilon)
    assert [obstacle.axis for obstacle in result.translation.obstacles] == ["eps"]


def test_rules_that_the_reference_does_not_know_are_held_against_each_other(compared, zoo):
    same = compared(zoo.Plain, zoo.Plain, {"weight_decay": 0.5}, {"weight_decay": 0.5})
    assert (same.outcome, same.judged_by) == (Outcome.SAME, None)
    result = compared(zoo.Plain, zoo.Plain, {"weight_decay": 0.5})
    assert result.outcome is Outcome.DIFFERENT
    assert result.parting.step == 1
    assert result.translation.exists is True
    assert result.translation.values == {"weight_decay": 0.5}
    other = compared(zoo.Plain, zoo.PlainWd, {"weight_decay": 0.5}, {"weight_decay": 0.25})
    assert other.translation.exists is None
    assert "no rule says which would do" in other.translation.message


def test_rounding_that_an_optimizer_makes_much_of_cannot_be_told_from_another_rule(compared, zoo):
    class Chaotic(zoo.Plain):
        def direction(self, name, grad, lr):
            return lr * np.sin(1e13 * grad)

    class Rounded(zoo.Plain):
        def direction(self, name, grad, lr):
            return lr * np.sin(1e13 * (grad / 3.0 * 3.0 * (1.0 + 2**-52)))

    result = compared(Chaotic, Rounded)
    assert (result.outcome, int(result.exit_status)) == (Outcome.CANNOT_TELL, 4)
    assert "when its gradients change in the last place" in result.reason

    class Shifted(zoo.Plain):
        def direction(self, name, grad, lr):
            return lr * np.sin(1e13 * grad) + 100.0 * lr

    assert compared(Chaotic, Shifted).outcome is Outcome.DIFFERENT


class ZeroFilled:
    """An optimizer that takes a missing gradient for zeros."""

    missing_gradient = MissingGradient.ZERO

    def __init__(self, optimizer):
        self._optimizer = optimizer

    def __getattr__(self, name):
        return getattr(self._optimizer, name)

    def step(self, gradients, lr):
        theta = self._optimizer.read_parameters()
        self._optimizer.step(
            {name: np.zeros_like(theta[name]) if grad is None else grad for name, grad in gradients.items()}, lr
        )


class ZeroAdapter(NumPyAdapter):
    """Builds optimizers that take a missing gradient for zeros."""

    def build(self, *arguments, **more):
        return ZeroFilled(super().build(*arguments, **more))


@pytest.mark.parametrize("missing", [(), ((2, "b"), (4, "b"))])
def test_conventions_for_missing_gradients_part_where_one_is_missing(subject_of, make_trace, missing):
    trace = make_trace(missing=missing)
    skipping = subject_of(ADAMW, weight_decay=0.5)
    filling = replaced(skipping, adapter=ZeroAdapter())
    result = compare(skipping, filling, [trace])
    assert result.same is not bool(missing)
    if missing:
        assert [(each.name, each.shows, each.step) for each in result.differences] == [("missing_gradient", True, 2)]
        assert "without one, A: skipped" in result.reason
    translation = compare(skipping, replaced(filling, hyperparameters={"weight_decay": 0.25}), [trace]).translation
    assert translation.exists is not bool(missing)
    assert translation.values == {"weight_decay": 0.5}
    assert [each.axis for each in translation.obstacles] == (["missing_gradient"] if missing else [])


@pytest.mark.parametrize("missing", [(), ((2, "b"),)])
def test_conventions_are_named_where_no_rule_explains(subject_of, make_trace, zoo, missing):
    skipping = subject_of(zoo.Plain, weight_decay=0.5)
    filling = replaced(subject_of(zoo.PlainWd, weight_decay=0.5), adapter=ZeroAdapter())
    result = compare(skipping, filling, [make_trace(missing=missing)])
    assert [(each.name, each.shows) for each in result.differences] == ([("missing_gradient", None)] if missing else [])


def test_nan_is_nothing_to_compare_with(compared, zoo):
    for pair in ((ADAMW, zoo.NotANumber), (zoo.NotANumber, zoo.NotANumber)):
        result = compared(*pair)
        assert result.outcome is Outcome.CANNOT_TELL
        assert "NaN or infinite" in result.reason


def test_what_does_not_run_is_an_error(compared, zoo):
    class Refusing(zoo.Plain):
        def __init__(self, weight_decay=0.0):
            raise ValueError("no")

    class Stuck(zoo.Plain):
        def step(self, params, grads, lr):
            raise RuntimeError("stuck")

    for target, words in ((Refusing, "ValueError: no"), (Stuck, "RuntimeError: stuck")):
        result = compared(ADAMW, target)
        assert (result.outcome, int(result.exit_status)) == (Outcome.ERROR, 3)
        assert words in result.reason


def test_values_that_the_second_refuses(compared):
    class Picky(adam()):
        def __init__(self, lr=0.1, weight_decay=0.0, beta1=0.9, beta2=0.99, eps=1e-3):
            if weight_decay > 0.25:
                raise ValueError("too much decay")
            super().__init__(lr, weight_decay, beta1, beta2, eps)

    translation = compared(adam(), Picky, {"weight_decay": 0.5}).translation
    assert translation.exists is None
    assert "B does not run with weight_decay=0.5" in translation.message
    assert "too much decay" in translation.message


def test_no_steps_tell_nothing(subject_of, make_trace):
    for traces in ([], [make_trace(n_steps=0)]):
        result = compare(subject_of(ADAMW), subject_of(ADAMW), traces)
        assert (result.outcome, result.elements) == (Outcome.CANNOT_TELL, 0)


@pytest.mark.parametrize("target", [ADAMW, adam()], ids=["follows a rule", "hand-written"])
def test_no_elements_tell_nothing(subject_of, make_trace, target):
    result = compare(subject_of(target), subject_of(target), [make_trace({"w": (0,)})])
    assert (result.outcome, int(result.exit_status), result.elements) == (Outcome.CANNOT_TELL, 4, 0)
    assert "no trace has an element to compare" in result.reason


def test_a_learning_rate_without_default_is_taken_from_the_other(subject_of):
    takes = adam()
    assert values_of(subject_of(takes), subject_of(ADAMW)) == ({}, {"lr": 0.1})
    assert values_of(subject_of(ADAMW), subject_of(takes, lr=0.5)) == ({"lr": 0.5}, {"lr": 0.5})
    assert values_of(subject_of(ADAMW), subject_of(SGDW)) == ({"lr": 0.05}, {"lr": 0.05})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_in_lower_precision_the_bound_of_that_precision_decides(compared, dtype):
    options = {"eps": 1e-3, "beta2": 0.75}
    assert compared(ADAMW, ADAMW, options, options, dtype=dtype).outcome is Outcome.SAME
    result = compared(ADAMW, ADAMW, options, {**options, "weight_decay": 4.0}, dtype=dtype)
    assert result.outcome is Outcome.DIFFERENT
    assert result.translation.values == {"weight_decay": 0.01}


def test_state_that_is_not_shown_is_not_followed(subject_of, make_trace):
    plain = Hypothesis(RULES["adamw"], AdamWOptions(law=COUPLED, beta2=0.75, eps=1e-3, weight_decay=0.01, lr=0.05))
    maximum = replaced(plain, options=replaced(plain.options, amsgrad=AMSGrad.RAW))
    subject = replaced(subject_of(ADAMW, beta2=0.75, eps=1e-3), dtype="bfloat16")
    assert len(follow(subject, {**subject.hyperparameters, "lr": 0.05}, [make_trace()], [plain, maximum])) == 1
    assert follow(subject, subject.hyperparameters, [make_trace(n_steps=0)], [plain])[0].inside is False


def test_what_cannot_be_told_apart_does_not_differ():
    options = SGDWOptions(lr=0.1, weight_decay=0.5, law=COUPLED)
    decoupled, paper = (Hypothesis(RULES["sgdw"], replaced(options, law=law)) for law in (COUPLED, PAPER))
    coupled = Hypothesis(RULES["sgd_l2"], SGDOptions(lr=0.1, weight_decay=0.5))
    assert nearest_pair([coupled, paper], [decoupled, coupled]) == (coupled, coupled, [])
    assert [each.name for each in differences(coupled, paper)] == ["rule"]


def test_candidates_do_not_depend_on_steps_without_a_learning_rate(subject_of):
    own = Hypothesis(RULES["adamw"], AdamWOptions(lr=0.1, weight_decay=0.5, law=COUPLED))
    other = Hypothesis(RULES["adamw"], AdamWOptions(lr=0.1, weight_decay=0.5, law=FIXED))
    target = subject_of(adam()).target
    candidate = translated(own, other, target, {}, [(0.0, 0.5, 0.5), (0.5,)])
    assert candidate.values == {"weight_decay": 0.025}
    assert candidate.obstacles == ()


def test_side_by_side_counts_and_measures(subject_of, make_trace):
    subject = subject_of(ADAMW)
    values = {"lr": 0.1, "weight_decay": 0.0}
    walk = side_by_side(subject, values, subject, {**values, "weight_decay": 0.5}, [make_trace(grads=0.0, theta=1.0)])
    assert walk.distance == pytest.approx(1.0 - 0.95**6, rel=1e-14)
    assert (walk.steps, walk.elements, walk.parting.step) == (6, 6 * 17, 1)
    assert side_by_side(subject, values, subject, values, [make_trace()]).distance == 0.0


def test_in_python_options_of_one_side_win_over_those_of_both():
    arguments = {"traces": ["synthetic:small"], "weight_decay": 0.1}
    assert optconform.compare(ADAMW, ADAMW, **arguments).same
    result = optconform.compare(ADAMW, ADAMW, options_b={"weight_decay": 0.2}, **arguments)
    assert (result.differences[0].first, result.differences[0].second) == (0.1, 0.2)
    assert result.rerun.endswith("--set-b weight_decay=0.2 --trace synthetic:small")


def test_what_no_command_can_name_has_no_command(compared, zoo):
    class Local(zoo.Plain):
        pass

    assert compared(Local, Local).rerun == ""
    assert optconform.compare(Local, Local, traces=["synthetic:small"]).rerun == ""
