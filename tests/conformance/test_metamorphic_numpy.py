"""Metamorphic checks on NumPy optimizers: each fires on the fault it is for, and on nothing sound."""

import numpy as np
import pytest

from optconform.conformance.metamorphic import grouping, maximize, missing_gradients, mutated_gradients, options
from optconform.conformance.metamorphic.drawing import drawn_setting

pytestmark = pytest.mark.numpy


class Momentum:
    """b <- .9*b + g; theta <- theta - lr*(b + wd*theta). Subclasses change one thing."""

    def __init__(self, weight_decay=0.0, maximize=False):
        self.weight_decay, self.maximize = weight_decay, maximize
        self.buffer = {}

    def step(self, params, grads, lr):
        return {name: self.moved(name, theta, grads[name], lr) for name, theta in params.items()}

    def moved(self, name, theta, grad, lr):
        if grad is None:
            return theta
        return theta - lr * (self.remember(name, -grad if self.maximize else grad) + self.decay(name, theta))

    def remember(self, name, grad):
        self.buffer[name] = 0.9 * self.buffer.get(name, 0.0) + grad
        return self.buffer[name]

    def decay(self, name, theta):
        return self.weight_decay * theta


class DecayMaximized(Momentum):
    def decay(self, name, theta):
        return (-1 if self.maximize else 1) * self.weight_decay * theta


class MaximizedTooLate(Momentum):
    """Turns what comes out of the buffer, but not what goes in: the first step is right."""

    def remember(self, name, grad):
        self.buffer[name] = 0.9 * self.buffer.get(name, 0.0) + grad
        return self.buffer[name] if name not in self.buffer or not self.maximize else abs(self.buffer[name])


class MaximizeUnread(Momentum):
    def moved(self, name, theta, grad, lr):
        return theta if grad is None else theta - lr * (self.remember(name, grad) + self.decay(name, theta))


class MaximizeRefused(Momentum):
    def __init__(self, weight_decay=0.0, maximize=False):
        if maximize:
            raise ValueError("maximize is not implemented")
        super().__init__(weight_decay)


class MaximizeBreaks(Momentum):
    def remember(self, name, grad):
        if self.maximize:
            raise NotImplementedError("maximize")
        return super().remember(name, grad)


class CountedTogether(Momentum):
    """One step count, advanced once for each parameter: warm-up is over sooner for the last."""

    count = 0

    def moved(self, name, theta, grad, lr):
        self.count += 1
        return super().moved(name, theta, grad, lr * self.count / (self.count + 1.0))


class LeftBehind(Momentum):
    """What one parameter leaves in a scratch buffer goes into the next one's step."""

    scratch = 0.0

    def remember(self, name, grad):
        before, self.scratch = self.scratch, float(np.mean(grad))
        return super().remember(name, grad) + before


class DecayOncePerDtype(Momentum):
    def step(self, params, grads, lr):
        for _ in {theta.dtype for theta in params.values()}:
            params = {name: theta - lr * self.weight_decay * theta for name, theta in params.items()}
        return {name: theta - lr * self.remember(name, grads[name]) for name, theta in params.items()}


class GlobalClip(Momentum):
    """Clips by the norm of all gradients: parameters are coupled by the rule."""

    def step(self, params, grads, lr):
        norm = np.sqrt(
            sum(float(np.sum(np.asarray(grad, np.float64) ** 2)) for grad in grads.values() if grad is not None)
        )
        clipped = {name: None if grad is None else grad / max(1.0, norm) for name, grad in grads.items()}
        return super().step(params, clipped, lr)


class StableDecay(Momentum):
    """Decay divided by the root mean square of all gradients: a global statistic in the decay alone."""

    def step(self, params, grads, lr):
        present = [np.asarray(grad, np.float64) for grad in grads.values() if grad is not None]
        self.scale = 1.0 / np.sqrt(sum(float(np.sum(grad**2)) for grad in present) / sum(grad.size for grad in present))
        return super().step(params, grads, lr)

    def decay(self, name, theta):
        return self.scale * super().decay(name, theta)


class DecayByCompany(Momentum):
    """Decay is shared out among the parameters present: it follows their number, and not their values."""

    def step(self, params, grads, lr):
        self.share = 1.0 / len(params)
        return super().step(params, grads, lr)

    def decay(self, name, theta):
        return self.share * super().decay(name, theta)


class DecaysWithout(Momentum):
    def moved(self, name, theta, grad, lr):
        return theta - lr * self.decay(name, theta) if grad is None else super().moved(name, theta, grad, lr)


class RollsOnWithout(Momentum):
    def moved(self, name, theta, grad, lr):
        return super().moved(name, theta, np.zeros_like(theta) if grad is None else grad, lr)


class ForgetsWithout(Momentum):
    def moved(self, name, theta, grad, lr):
        if grad is None and name in self.buffer:
            self.buffer[name] = 0.9 * self.buffer[name]
        return super().moved(name, theta, grad, lr)


class SharedCount(Momentum):
    """Bias correction by the number of steps that any parameter has taken."""

    count = 0

    def step(self, params, grads, lr):
        self.count += 1
        return super().step(params, grads, lr)

    def remember(self, name, grad):
        return super().remember(name, grad) / (1.0 - 0.9**self.count)


class ZerosMade(Momentum):
    """Makes its state when it first sees a parameter, gradient or not: zeros, which change nothing."""

    def step(self, params, grads, lr):
        for name, theta in params.items():
            self.buffer.setdefault(name, np.zeros_like(theta))
        return super().step(params, grads, lr)


class DecayInPlace(Momentum):
    def moved(self, name, theta, grad, lr):
        if grad is None:
            return theta
        grad += self.weight_decay * theta
        return theta - lr * self.remember(name, grad)


class BufferInPlace(Momentum):
    """Nesterov's look-ahead written into the gradient, from the second step on."""

    def moved(self, name, theta, grad, lr):
        if grad is None:
            return theta
        if name in self.buffer:
            grad += 0.9 * self.buffer[name]
        return super().moved(name, theta, grad, lr)


class NesterovUnread(Momentum):
    def __init__(self, weight_decay=0.0, nesterov=False):
        super().__init__(weight_decay)


class Nesterov(Momentum):
    def __init__(self, weight_decay=0.0, momentum=0.0, nesterov=False, maximize=False):
        super().__init__(weight_decay, maximize)
        self.momentum, self.nesterov = momentum, nesterov

    def remember(self, name, grad):
        self.buffer[name] = self.momentum * self.buffer.get(name, 0.0) + grad
        return grad + self.momentum * self.buffer[name] if self.nesterov else self.buffer[name]


class Swallowing(Momentum):
    def __init__(self, weight_decay=0.0, **kwargs):
        super().__init__(weight_decay)


class Refusing(Momentum):
    def __init__(self, weight_decay=0.0, **kwargs):
        super().__init__(weight_decay)
        if kwargs:
            raise TypeError(f"unknown options: {sorted(kwargs)}")


_NOISE = np.random.default_rng(3)


class WaitsForTen(Momentum):
    """Moves by the gradient of ten steps ago, and until then not at all."""

    def remember(self, name, grad):
        self.buffer.setdefault(name, []).append(-grad if self.maximize else grad)
        return self.buffer[name][-10] if len(self.buffer[name]) >= 10 else 0.0

    def moved(self, name, theta, grad, lr):
        return theta if grad is None else theta - lr * (self.remember(name, grad) + self.decay(name, theta))


class EightBits(Momentum):
    """Rounds the step of a matrix to eight bits, and sums it in another order beside others of its shape."""

    def step(self, params, grads, lr):
        self.beside = len(params)
        return super().step(params, grads, lr)

    def remember(self, name, grad):
        buffer = super().remember(name, grad) * (1.0 if self.beside > 1 else 1.0 + 2.0**-8)
        return to_eight_bits(buffer)


def to_eight_bits(array):
    return array.astype(np.float32).view(np.uint32).__and__(np.uint32(0xFFFF0000)).view(np.float32)


class EightBitsCounted(SharedCount):
    """Rounds the step to eight bits; the shared count is worth no more than one of these roundings."""

    def remember(self, name, grad):
        buffer = super().remember(name, grad) * (1.0 - 0.9**self.count)
        return to_eight_bits(buffer * (1.0 + 2.0**-8 * (self.count % 2)))


class Noisy(Momentum):
    def remember(self, name, grad):
        return grad + _NOISE.standard_normal(np.shape(grad))


@pytest.fixture(scope="module")
def outcomes(subject_of, make_trace):
    """Return a function: (check, optimizer) -> its outcomes by variant."""
    trace = make_trace({"w": (3, 4), "u": (2, 5), "b": (5,), "c": (7,)})

    def run(check, target):
        setting = drawn_setting(subject_of(target), [trace])
        found = {}
        for outcome in check(setting):
            found.setdefault(outcome.variant, []).append(outcome)
        return found

    return run


def only(found):
    (outcomes,) = found.values()
    (outcome,) = outcomes
    return outcome


class TestMaximize:
    def test_sound(self, outcomes):
        assert only(outcomes(maximize.maximize_check, Momentum)).outcome == "passed"

    @pytest.mark.parametrize(("target", "alone"), [(DecayMaximized, True), (MaximizedTooLate, False)])
    def test_asymmetry_and_whether_decay_is_behind_it(self, outcomes, target, alone):
        outcome = only(outcomes(maximize.maximize_check, target))
        assert outcome.outcome == "failed"
        assert outcome.evidence["agrees_without_decay"] is alone
        assert outcome.evidence["ratio"] > 1e6

    def test_no_effect_is_left_to_the_check_of_options(self, outcomes):
        assert "OC413" in only(outcomes(maximize.maximize_check, MaximizeUnread)).message
        assert outcomes(options.options_check, MaximizeUnread)["maximize"][0].outcome == "failed"

    def test_no_such_option(self, outcomes, zoo):
        outcome = only(outcomes(maximize.maximize_check, zoo.Plain))
        assert (outcome.outcome, outcome.message) == ("skipped", "there is no option maximize")


class TestGrouping:
    def test_sound(self, outcomes):
        found = outcomes(grouping.grouping_check, Momentum)
        assert {variant: each[0].outcome for variant, each in found.items()} == {
            "reversed": "passed",
            "split": "passed",
            "dtypes": "passed",
        }

    @pytest.mark.parametrize("target", [CountedTogether, LeftBehind])
    def test_what_one_parameter_leaves_for_the_next_depends_on_the_order(self, outcomes, target):
        found = outcomes(grouping.grouping_check, target)
        assert found["reversed"][0].outcome == "failed"

    def test_steps_of_fewer_bits_may_differ_by_more(self, outcomes):
        found = outcomes(grouping.grouping_check, EightBits)
        assert found["split"][0].outcome == "skipped"
        assert "fewer bits" in found["split"][0].message

    def test_decay_once_for_each_dtype_is_repeated_decay_besides(self, outcomes):
        found = outcomes(grouping.grouping_check, DecayOncePerDtype)
        assert found["split"][0].outcome == "passed"
        differs, repeated = found["dtypes"]
        assert (differs.outcome, differs.code) == ("failed", None)
        assert (repeated.outcome, repeated.code, repeated.evidence["times"]) == ("failed", "OC108", 2)
        assert repeated.evidence["coefficient"] == pytest.approx(1 - (1 - 0.025) ** 2, rel=1e-6)

    @pytest.mark.parametrize("target", [GlobalClip, StableDecay])
    def test_a_global_statistic_is_no_fault_and_its_order_is_still_judged(self, outcomes, target):
        found = outcomes(grouping.grouping_check, target)
        assert found["reversed"][0].outcome == "passed"
        for variant in ("split", "dtypes"):
            assert found[variant][0].outcome == "skipped"
            assert "couples parameters by design" in found[variant][0].message

    def test_a_decay_that_depends_on_how_many_there_are_is_a_fault(self, outcomes):
        assert outcomes(grouping.grouping_check, DecayByCompany)["split"][0].outcome == "failed"


class TestMissingGradients:
    @pytest.mark.parametrize("target", [Momentum, ZerosMade, GlobalClip])
    def test_sound(self, outcomes, target):
        assert only(outcomes(missing_gradients.missing_gradients_check, target)).outcome != "failed"

    @pytest.mark.parametrize(
        ("target", "words"),
        [
            (DecaysWithout, "decays by 0.025 of itself"),
            (RollsOnWithout, "decays by 0.025 of itself"),  # the first step has no momentum yet
            (ForgetsWithout, "its state 'buffer' changes"),
            (SharedCount, "a step count that all share"),
        ],
    )
    def test_departures_from_the_convention(self, outcomes, target, words):
        outcome = only(outcomes(missing_gradients.missing_gradients_check, target))
        assert outcome.outcome == "failed"
        assert words in outcome.message
        assert "the convention of numpy" in outcome.message

    def test_what_steps_of_fewer_bits_hide_is_not_told(self, outcomes):
        outcome = only(outcomes(missing_gradients.missing_gradients_check, EightBitsCounted))
        assert outcome.outcome == "skipped"
        assert "cannot be told" in outcome.message
        assert "fewer bits" in outcome.message

    def test_a_target_that_cannot_do_without_a_gradient(self, outcomes):
        class Needs(Momentum):
            def moved(self, name, theta, grad, lr):
                return theta - lr * self.remember(name, grad * 1.0)

        from optconform.adapters.errors import StepFailed

        with pytest.raises(StepFailed):
            outcomes(missing_gradients.missing_gradients_check, Needs)


class TestMutatedGradients:
    def test_sound(self, outcomes):
        assert only(outcomes(mutated_gradients.mutated_gradients_check, Momentum)).outcome == "passed"

    @pytest.mark.parametrize(
        ("target", "words", "step"),
        [(DecayInPlace, "it now holds g + weight_decay*theta", 1), (BufferInPlace, "by up to", 2)],
    )
    def test_mutation(self, outcomes, target, words, step):
        outcome = only(outcomes(mutated_gradients.mutated_gradients_check, target))
        assert outcome.outcome == "failed"
        assert words in outcome.message
        assert outcome.evidence["step"] == step


class TestOptions:
    def test_effect(self, outcomes):
        found = outcomes(options.options_check, Nesterov)
        assert {variant: each[0].outcome for variant, each in found.items()} == {
            "maximize": "passed",
            "nesterov": "passed",
            "unknown": "passed",
        }

    def test_no_effect(self, outcomes):
        found = outcomes(options.options_check, NesterovUnread)
        assert found["nesterov"][0].outcome == "failed"
        assert found["nesterov"][0].evidence == {"option": "nesterov"}

    def test_options_that_do_not_exist(self, outcomes):
        def factory(weight_decay=0.0, **kwargs):
            return Momentum(weight_decay)

        assert outcomes(options.options_check, factory)["unknown"][0].outcome == "failed"
        assert outcomes(options.options_check, Swallowing)["unknown"][0].outcome == "failed"
        assert outcomes(options.options_check, Refusing)["unknown"][0].outcome == "passed"

    def test_no_option_has_an_effect_before_a_gradient_has(self, outcomes):
        found = outcomes(options.options_check, WaitsForTen)
        assert "no gradient has an effect" in found["maximize"][0].message

    def test_options_that_act_later_are_data(self, outcomes):
        class SWATS(NesterovUnread):
            pass

        assert "Keskar" in outcomes(options.options_check, SWATS)["nesterov"][0].message

    @pytest.mark.parametrize("target", [MaximizeRefused, MaximizeBreaks])
    def test_an_option_that_is_refused_is_no_silent_one(self, outcomes, target):
        assert outcomes(options.options_check, target)["maximize"][0].outcome == "skipped"


@pytest.mark.parametrize(
    "check",
    [
        grouping.grouping_check,
        missing_gradients.missing_gradients_check,
        options.options_check,
        maximize.maximize_check,
    ],
)
def test_noise_says_nothing_about_anything_else(outcomes, check):
    assert only(outcomes(check, Noisy)).outcome == "skipped"
