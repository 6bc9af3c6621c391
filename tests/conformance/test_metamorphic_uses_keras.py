"""How a Keras optimizer is used: faults that subclasses have, and what Keras itself does."""

from functools import cache

import pytest

pytest.importorskip("tensorflow")

from optconform.adapters import keras_import
from optconform.conformance.api import make_subject
from optconform.conformance.faults.trace import fault_trace
from optconform.conformance.metamorphic import table
from optconform.conformance.metamorphic.attempts import attempted
from optconform.conformance.metamorphic.drawing import drawn_setting

tf, keras = keras_import.tf, keras_import.keras

pytestmark = pytest.mark.tensorflow

NAMES = (
    "restore",
    "accumulation",
    "sparse gradients",
    "exclusion",
    "reproducibility",
    "lr change",
    "decay change",
    "zero gradients",
)
CHECKS = {name: next(row.run for row in table.CHECKS if row.name == name) for name in NAMES}


class Momentum(keras.optimizers.SGD):
    def __init__(self, learning_rate=0.1, weight_decay=0.0, **kwargs):
        super().__init__(learning_rate, momentum=0.9, weight_decay=weight_decay, **kwargs)
        self.first = (learning_rate, weight_decay)


class CountsInBareVariable(Momentum):
    """A `tf.Variable` that Keras does not track is not saved."""

    def build(self, variables):
        super().build(variables)
        self.calls = tf.Variable(0.0)

    def update_step(self, gradient, variable, learning_rate):
        self.calls.assign_add(1.0)
        super().update_step(gradient, variable, learning_rate / self.calls)


class DecaysEveryMicroStep(Momentum):
    """As Keras 3.4 did."""

    def apply(self, grads, trainable_variables=None):
        self._apply_weight_decay(trainable_variables)
        super().apply(grads, trainable_variables)


class DecaysRowsWithEntry(Momentum):
    def _apply_weight_decay(self, variables):
        pass

    def update_step(self, gradient, variable, learning_rate):
        factor = 1.0 - float(self.learning_rate) * self.weight_decay
        if isinstance(gradient, tf.IndexedSlices):
            decayed = tf.gather(variable, gradient.indices) * factor
            variable.scatter_update(tf.IndexedSlices(decayed, gradient.indices))
        else:
            variable.assign(variable * factor)
        super().update_step(gradient, variable, learning_rate)


class ExcludesNothing(Momentum):
    def _use_weight_decay(self, variable):
        return True


class FirstRate(Momentum):
    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, self.first[0])


class FirstDecay(Momentum):
    def _apply_weight_decay(self, variables):
        for variable in variables:
            if self._use_weight_decay(variable):
                variable.assign(variable * (1.0 - float(self.learning_rate) * self.first[1]))


@cache
def setting_of(target):
    return drawn_setting(make_subject(target, framework="tensorflow"), [fault_trace()])


def outcomes(name, target):
    return list(attempted(CHECKS[name](setting_of(target))))


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("restore", CountsInBareVariable, "is not saved"),
        ("accumulation", DecaysEveryMicroStep, "may run in every micro-step"),
        ("sparse gradients", DecaysRowsWithEntry, "only in rows that have an entry"),
        ("exclusion", ExcludesNothing, "walks the path with decay"),
        ("lr change", FirstRate, "the same in every bit"),
        ("decay change", FirstDecay, "changes nothing"),
    ],
)
def test_a_fault_fails_its_check_and_says_how(name, target, words):
    found = outcomes(name, target)
    assert {outcome.outcome for outcome in found} == {"failed"}
    assert words in found[0].message


def test_the_convention_of_keras_is_named():
    for outcome in outcomes("sparse gradients", DecaysRowsWithEntry):
        assert "BaseOptimizer._apply_weight_decay" in outcome.message


@pytest.mark.parametrize("target", [Momentum, "keras.optimizers:AdamW"])
@pytest.mark.parametrize("name", CHECKS)
def test_what_is_sound_raises_no_alarm(name, target):
    assert {outcome.outcome for outcome in outcomes(name, target)} == {"passed"}


def test_a_learning_rate_that_only_caps_the_step_is_felt():
    """Adafactor's relative step is min(lr, 1/sqrt(t))."""
    (outcome,) = outcomes("lr change", "keras.optimizers:Adafactor")
    assert outcome.outcome == "passed"
