"""The checks of how an optimizer is used, on an optimizer that answers every call of the protocol by itself.

Each fault is one method of it; nothing here needs a framework, nor what an adapter makes of one.
"""

import copy
import random

import numpy as np
import pytest

from optconform.adapters import random_generators
from optconform.adapters.errors import NotSupported, StepFailed
from optconform.adapters.protocol import MissingGradient, SparseRows, Target
from optconform.conformance.faults.trace import fault_trace
from optconform.conformance.metamorphic.accumulation import accumulation_check
from optconform.conformance.metamorphic.decay_change import decay_change_check
from optconform.conformance.metamorphic.drawing import drawn_setting
from optconform.conformance.metamorphic.exclusion import exclusion_check
from optconform.conformance.metamorphic.lr_change import lr_change_check
from optconform.conformance.metamorphic.reproducibility import reproducibility_check
from optconform.conformance.metamorphic.restore import restore_check
from optconform.conformance.metamorphic.setting import NOT_REPRODUCIBLE
from optconform.conformance.metamorphic.sparse import sparse_check
from optconform.conformance.metamorphic.table import CHECKS
from optconform.conformance.metamorphic.zero_gradients import zero_gradients_check
from optconform.conformance.subject import Subject

pytestmark = pytest.mark.numpy


class Sound:
    """Normalised momentum, decoupled decay: b <- .9*b + g/(|g| + .1); theta <- theta - lr*(b + wd*theta).

    A gradient of None is one of zeros, so that rows without an entry move like all others.
    """

    casts = ()
    missing_gradient = MissingGradient.ZERO
    computes_in = scalars_in = None

    def __init__(self, parameters, layout, lr=0.1, weight_decay=0.0, **options):
        self.held = {"lr": lr, "weight_decay": weight_decay, **options}
        self.weight_decay, self.first_lr = weight_decay, lr
        self.excluded = layout.undecayed
        self.micro, self.accumulate = [], layout.accumulate
        self.theta = {name: value.copy() for name, value in parameters.items()}
        self.buffer = {name: np.zeros_like(value) for name, value in parameters.items()}

    def step(self, gradients, lr):
        self.micro.append({name: self.entering(name, grad) for name, grad in gradients.items()})
        if len(self.micro) < self.accumulate:
            return
        mean = {name: sum(each[name] for each in self.micro) / len(self.micro) for name in gradients}
        self.micro = []
        for name, grad in mean.items():
            self.buffer[name] = 0.9 * self.buffer[name] + self.direction(name, grad, mean)
            moved = lr * (self.buffer[name] + self.decay(name, gradients[name]))
            self.theta[name] = self.theta[name] - moved

    def entering(self, name, grad):
        if grad is None:
            return np.zeros_like(self.theta[name])
        return grad.dense() if isinstance(grad, SparseRows) else grad

    def direction(self, name, grad, every):
        return grad / (np.linalg.norm(grad) + 0.1)

    def decay(self, name, grad):
        return 0.0 if name in self.excluded else self.weight_decay * self.theta[name]

    def set_weight_decay(self, value):
        self.weight_decay = value

    def save(self):
        return copy.deepcopy(self.buffer)

    def load(self, saved):
        self.buffer = copy.deepcopy(saved)

    def read_parameters(self, names=None):
        return {name: value.copy() for name, value in self.theta.items()}

    def snapshot(self):
        return copy.deepcopy((self.theta, self.buffer))

    def restore(self, snapshot):
        self.theta, self.buffer = copy.deepcopy(snapshot)


class SavesNothing(Sound):
    def save(self):
        raise NotSupported("it has no form of saving")


class ForgetsBuffer(Sound):
    def save(self):
        return {name: np.zeros_like(value) for name, value in self.buffer.items()}


class CannotLoad(Sound):
    def load(self, saved):
        raise StepFailed("load_state_dict() raised KeyError: 'step'")


class CountsOutsideState(Sound):
    """A count that a new instance starts anew."""

    count = 0

    def decay(self, name, grad):
        self.count += 1
        return super().decay(name, grad) / self.count


class DecaysEveryMicroStep(Sound):
    def step(self, gradients, lr):
        if self.accumulate > 1:
            for name, value in self.theta.items():
                self.theta[name] = value - 0.5 * lr * self.weight_decay * value
        super().step(gradients, lr)


class ClipsEveryMicroStep(Sound):
    def entering(self, name, grad):
        grad = super().entering(name, grad)
        return grad / max(1.0, np.linalg.norm(grad))


class Lazy(Sound):
    """Decays only the rows that have an entry."""

    def decay(self, name, grad):
        full = super().decay(name, grad)
        if isinstance(grad, SparseRows):
            rows = np.zeros_like(self.theta[name])
            rows[grad.indices] = full[grad.indices]
            return rows
        return full


class UndecayedIfSparse(Sound):
    def decay(self, name, grad):
        return 0.0 if isinstance(grad, SparseRows) else super().decay(name, grad)


class RefusesSparse(Sound):
    def entering(self, name, grad):
        if isinstance(grad, SparseRows):
            raise StepFailed("step() raised RuntimeError: sparse gradients are not supported")
        return super().entering(name, grad)


class DenseOnly(Sound):
    def entering(self, name, grad):
        if isinstance(grad, SparseRows):
            raise NotSupported("there are no sparse gradients in this framework")
        return super().entering(name, grad)


class Unexcluding(Sound):
    def decay(self, name, grad):
        return self.weight_decay * self.theta[name]


class HalfExcluding(Sound):
    def decay(self, name, grad):
        return (0.5 if name in self.excluded else 1.0) * self.weight_decay * self.theta[name]


class ExcludesAll(Sound):
    def decay(self, name, grad):
        return 0.0 if self.excluded else self.weight_decay * self.theta[name]


class CommonNorm(Sound):
    """L2, and one norm for all parameters: the decay of the others reaches an excluded one."""

    def entering(self, name, grad):
        return super().entering(name, grad) + super().decay(name, grad)

    def direction(self, name, grad, every):
        return grad / np.sqrt(sum(np.sum(each * each) for each in every.values()))

    def decay(self, name, grad):
        return 0.0


class CommonNormUnexcluding(CommonNorm):
    def __init__(self, parameters, layout, lr=0.1, weight_decay=0.0, **options):
        super().__init__(parameters, layout, lr, weight_decay, **options)
        self.excluded = frozenset()


class Unchanging(Sound):
    def set_weight_decay(self, value):
        pass


class ChangesThriceAsMuch(Sound):
    def set_weight_decay(self, value):
        self.weight_decay = 3.0 * value


class NoDecayChange(Sound):
    def set_weight_decay(self, value):
        raise NotSupported("weight decay is fixed at construction")


class FirstRate(Sound):
    def step(self, gradients, lr):
        super().step(gradients, self.first_lr)


class CappedRate(Sound):
    """The rate is but an upper bound, and half of it is no less than the step."""

    def step(self, gradients, lr):
        super().step(gradients, min(lr, 1e-3))


class FirstRateByDesign(FirstRate):
    def __init__(self, parameters, layout, lr=0.1, weight_decay=0.0, relative_step=True):
        super().__init__(parameters, layout, lr, weight_decay, relative_step=relative_step)


class Motionless(Sound):
    def step(self, gradients, lr):
        pass


class Noisy(Sound):
    draw = staticmethod(np.random.standard_normal)

    def direction(self, name, grad, every):
        return super().direction(name, grad, every) + 1e-3 * self.draw()


class NoisyPython(Noisy):
    draw = staticmethod(random.random)


class OwnNoise(Noisy):
    """A generator of its own, with a fixed seed."""

    def __init__(self, parameters, layout, lr=0.1, weight_decay=0.0):
        super().__init__(parameters, layout, lr, weight_decay)
        self.draw = np.random.default_rng(3).standard_normal


class SharedCount(Sound):
    """State on the class, which every instance takes over."""

    counts = None

    def direction(self, name, grad, every):
        self.counts.append(name)
        return super().direction(name, grad, every) / len(self.counts)


class ZeroOverZero(Sound):
    def direction(self, name, grad, every):
        with np.errstate(invalid="ignore"):
            return grad / np.linalg.norm(grad)


class DrawsInVain(Sound):
    """Draws, and uses nothing of it."""

    def direction(self, name, grad, every):
        np.random.standard_normal()  # noqa: NPY002
        return super().direction(name, grad, every)


class CannotBeCopied(Sound):
    def snapshot(self):
        raise StepFailed("copying its state raised RuntimeError: only leaves can be copied")


class OwnWarmUp(FirstRate):
    def __init__(self, parameters, layout, lr=0.1, weight_decay=0.0, warmup_steps=500):
        super().__init__(parameters, layout, lr, weight_decay, warmup_steps=warmup_steps)


class GroupNorm(Sound):
    """The norm of all gradients whose parameters are decayed alike, as a norm over each parameter group is."""

    def direction(self, name, grad, every):
        alike = [each for other, each in every.items() if (other in self.excluded) == (name in self.excluded)]
        return grad / np.sqrt(sum(np.sum(each * each) for each in alike))


class NoDecayOption(Sound):
    def __init__(self, parameters, layout, lr=0.1):
        super().__init__(parameters, layout, lr)


class Adapter:
    """Calls the target with parameters and layout, rounded by nothing."""

    framework = "numpy"
    paths = ("default",)
    compiled_paths = ()

    def build(self, target, hyperparameters, parameters, *, dtype, device, path, layout):
        return target.attribute(parameters, layout, **hyperparameters)


class WithoutAccumulation(Adapter):
    def build(self, target, hyperparameters, parameters, *, layout, **rest):
        if layout.accumulate > 1:
            raise NotSupported("gradients add up outside of the optimizer")
        return super().build(target, hyperparameters, parameters, layout=layout, **rest)


def setting_of(optimizer, adapter=Adapter):
    return drawn_setting(Subject(Target(f"fake:{optimizer.__name__}", optimizer, "numpy"), adapter()), [fault_trace()])


def outcomes(check, optimizer):
    return list(check(setting_of(optimizer)))


def only_outcome(check, optimizer):
    (outcome,) = outcomes(check, optimizer)
    return outcome


EVERY = {
    "restore": restore_check,
    "accumulation": accumulation_check,
    "sparse": sparse_check,
    "exclusion": exclusion_check,
    "reproducibility": reproducibility_check,
    "lr change": lr_change_check,
    "decay change": decay_change_check,
    "zero gradients": zero_gradients_check,
}


@pytest.mark.parametrize("name", EVERY)
def test_every_check_passes_a_sound_optimizer(name):
    assert {outcome.outcome for outcome in outcomes(EVERY[name], Sound)} == {"passed"}


@pytest.mark.parametrize("name", EVERY)
def test_it_costs_what_the_table_says(name, monkeypatch):
    setting = setting_of(Sound)
    assert setting.reproducible
    steps = []
    step = Sound.step
    monkeypatch.setattr(Sound, "step", lambda self, gradients, lr: (steps.append(lr), step(self, gradients, lr)))
    list(EVERY[name](setting))
    (cost,) = (row.cost for row in CHECKS if row.run is EVERY[name])
    assert cost - 1 < len(steps) / len(setting.steps) <= cost


@pytest.mark.parametrize("name", ["sparse", "exclusion", "decay change"])
def test_without_an_option_of_decay_its_checks_are_skipped(name):
    outcome = only_outcome(EVERY[name], NoDecayOption)
    assert (outcome.outcome, outcome.message) == ("skipped", "the target has no weight-decay option")


@pytest.mark.parametrize("name", ["restore", "reproducibility", "lr change", "zero gradients"])
def test_without_an_option_of_decay_the_others_run(name):
    assert only_outcome(EVERY[name], NoDecayOption).outcome == "passed"


@pytest.mark.parametrize(
    ("name", "optimizer", "words"),
    [
        ("restore", ForgetsBuffer, "something that a step reads is not saved"),
        ("restore", CountsOutsideState, "something that a step reads is not saved"),
        ("restore", CannotLoad, "KeyError: 'step'"),
        ("accumulation", DecaysEveryMicroStep, "2 micro-steps"),
        ("accumulation", ClipsEveryMicroStep, "2 micro-steps"),
        ("exclusion", Unexcluding, "walks the path with decay"),
        ("exclusion", CommonNormUnexcluding, "walks the path with decay"),
        ("exclusion", HalfExcluding, "walks neither"),
        ("exclusion", ExcludesAll, "takes the decay from"),
        ("reproducibility", Noisy, "global random generator of NumPy"),
        ("reproducibility", NoisyPython, "global random generator of Python"),
        ("lr change", FirstRate, "the same in every bit"),
        ("decay change", Unchanging, "changes nothing"),
        ("decay change", ChangesThriceAsMuch, "does not act as if"),
        ("zero gradients", ZeroOverZero, "NaN or infinite after step 1"),
    ],
)
def test_a_fault_fails_its_check_and_says_how(name, optimizer, words):
    outcome = only_outcome(EVERY[name], optimizer)
    assert outcome.outcome == "failed"
    assert words.lower() in outcome.message.lower()


@pytest.mark.parametrize(
    ("name", "optimizer", "words"),
    [
        ("sparse", RefusesSparse, "sparse gradients are not supported"),
        ("exclusion", CommonNorm, "by the rule"),
        ("lr change", FirstRateByDesign, "relative_step"),
        ("lr change", OwnWarmUp, "warm-up"),
        ("decay change", CannotBeCopied, "only leaves can be copied"),
        ("lr change", Motionless, "no parameter moves"),
        ("exclusion", Motionless, "decay moves no parameter"),
        ("decay change", Motionless, "moves no parameter"),
    ],
)
def test_what_cannot_be_told_is_skipped_with_the_reason(name, optimizer, words):
    outcome = only_outcome(EVERY[name], optimizer)
    assert outcome.outcome == "skipped"
    assert words in outcome.message


@pytest.mark.parametrize(
    ("name", "optimizer", "adapter"),
    [
        ("restore", SavesNothing, Adapter),
        ("sparse", DenseOnly, Adapter),
        ("decay change", NoDecayChange, Adapter),
        ("accumulation", Sound, WithoutAccumulation),
    ],
)
def test_what_the_framework_has_not_is_left_to_the_caller(name, optimizer, adapter):
    with pytest.raises(NotSupported):
        list(EVERY[name](setting_of(optimizer, adapter)))


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("accumulation", FirstRate),  # its fault is another
        ("lr change", CappedRate),
        ("sparse", Motionless),
        ("reproducibility", OwnNoise),
        ("exclusion", GroupNorm),
    ],
)
def test_what_only_resembles_a_fault_passes(name, optimizer):
    assert {outcome.outcome for outcome in outcomes(EVERY[name], optimizer)} == {"passed"}


@pytest.mark.parametrize("name", sorted(EVERY.keys() - {"reproducibility", "zero gradients"}))
def test_noise_is_taken_for_no_other_fault(name):
    assert outcomes(EVERY[name], Noisy) == [NOT_REPRODUCIBLE]


def test_draws_without_effect_are_said_and_trusted_no_further():
    outcome = only_outcome(reproducibility_check, DrawsInVain)
    assert outcome.outcome == "passed"
    assert "although it draws from the global generator of NumPy" in outcome.message
    assert outcomes(restore_check, DrawsInVain) == [NOT_REPRODUCIBLE]


def test_lazy_decay_is_found_in_every_matrix():
    found = outcomes(sparse_check, Lazy)
    assert {outcome.parameter for outcome in found} == {"w", "u"}
    for outcome in found:
        assert outcome.outcome == "failed"
        assert "only in rows that have an entry" in outcome.message
        assert outcome.evidence["decaying"] == outcome.evidence["rows_with_entry"] < outcome.evidence["rows"]
        assert outcome.evidence["decaying_on_dense"] == outcome.evidence["rows"]


def test_decay_that_a_sparse_gradient_turns_off_is_found():
    found = outcomes(sparse_check, UndecayedIfSparse)
    assert {outcome.parameter for outcome in found} == {"w", "u"}
    for outcome in found:
        assert (outcome.outcome, outcome.evidence["decaying"]) == ("failed", 0)
        assert "decays in no row" in outcome.message


def test_state_shared_between_instances_is_no_random_generator(monkeypatch):
    monkeypatch.setattr(SharedCount, "counts", [])
    outcome = only_outcome(reproducibility_check, SharedCount)
    assert outcome.outcome == "failed"
    assert outcome.evidence == {
        "step": 1,
        "generators_drawn_from": [],
        "repeats_with_them_put_back": False,
    }


@pytest.mark.parametrize("optimizer", [Noisy, NoisyPython])
def test_the_random_generators_stand_where_they_stood(optimizer):
    before = random_generators.states()
    only_outcome(reproducibility_check, optimizer)
    assert random_generators.moved(before, random_generators.states()) == ()


def test_a_restored_run_is_compared_from_its_first_step_on():
    outcome = only_outcome(restore_check, ForgetsBuffer)
    assert outcome.evidence["step"] > outcome.evidence["saved_after"] == 3
    assert outcome.evidence["ratio"] > 1e6
