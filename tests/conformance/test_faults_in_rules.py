"""A fault in the reference itself, or in an adapter, turns the check of the built-in optimizers red.

Nothing here looks at codes: what is broken is the tool, and what matters is that it does not go on passing.
"""

from dataclasses import replace

import numpy as np
import pytest

from optconform.adapters.frameworks import FRAMEWORKS, load_adapter, missing_imports
from optconform.conformance import hypotheses
from optconform.conformance.builtin_targets import BUILTIN_TARGETS
from optconform.conformance.check import run
from optconform.conformance.faults.trace import fault_trace
from optconform.conformance.planned import PlannedAudit
from optconform.conformance.result import ExitStatus
from optconform.reference import RULES, DecayOrder, adam, sgd

ADAMW = {
    "numpy": "optconform.adapters.numpy_optimizers:AdamW",
    "torch": "torch.optim:AdamW",
    "tensorflow": "keras.optimizers:AdamW",
    "jax": "optax:adamw",
}
SGDW = {
    "numpy": "optconform.adapters.numpy_optimizers:SGDW",
    "tensorflow": "keras.optimizers:SGD",
    "jax": "optconform.adapters.optax_chains:sgdw",
}


def exit_status(framework, spec):
    """The exit status of the first built-in row of `spec`, on the small trace."""
    absent = missing_imports(FRAMEWORKS[framework])
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    row = next(row for row in BUILTIN_TARGETS if (row.framework, row.spec) == (framework, spec))
    planned = PlannedAudit(row.spec, row.expectation, row.options, row.framework, path=row.path)
    (result,) = run([planned], [fault_trace()])
    return result.exit_status


def rows(table):
    return [pytest.param(name, spec, marks=getattr(pytest.mark, name), id=name) for name, spec in table.items()]


@pytest.mark.parametrize(("framework", "spec"), [*rows(ADAMW), *rows(SGDW)])
def test_without_a_fault_the_check_passes(framework, spec):
    assert exit_status(framework, spec) is ExitStatus.AS_EXPECTED


def coupled(theta, grad, state, options, schedule_multiplier=1.0):
    return RULES["adamw"].step(theta, grad + options.weight_decay * theta, state, options, schedule_multiplier)


DECAYED = adam.decayed_step
IN_ADAM = {
    "decay into the gradient": (
        hypotheses,
        "RULES",
        {**RULES, "adamw": replace(RULES["adamw"], step=coupled)},
    ),
    "lr dropped": (adam, "decay_coefficient", lambda options, multiplier: options.weight_decay),
    "schedule dropped": (adam, "decay_coefficient", lambda options, multiplier: options.lr * options.weight_decay),
    "decay dropped": (adam, "decay_coefficient", lambda options, multiplier: 0.0),
    "sign flipped": (adam, "decayed_step", lambda theta, update, c, order: DECAYED(theta, update, -c, order)),
    "decay after the update": (
        adam,
        "decayed_step",
        lambda theta, update, c, order: DECAYED(theta, update, c, DecayOrder.UPDATED),
    ),
    "step sign flipped": (adam, "decayed_step", lambda theta, update, c, order: DECAYED(theta, -update, c, order)),
    "eps under the root": (adam, "denominator", lambda v_hat, c2, options: np.sqrt(v_hat + options.eps)),
    "eps subtracted": (adam, "denominator", lambda v_hat, c2, options: np.sqrt(v_hat) - options.eps),
    "bias correction off by one": (
        adam,
        "bias_corrections",
        lambda step, options: (1.0 - options.beta1 ** (step + 1), 1.0 - options.beta2 ** (step + 1)),
    ),
    "bias correction missing": (adam, "bias_corrections", lambda step, options: (1.0, 1.0)),
    "root missing": (adam, "denominator", lambda v_hat, c2, options: v_hat + options.eps),
}
IN_SGD = {
    "lr dropped": (sgd, "decay_coefficient", lambda options, multiplier: options.weight_decay),
    "sign flipped": (sgd, "decayed_step", lambda theta, update, c, order: DECAYED(theta, update, -c, order)),
    "decay after the update": (
        sgd,
        "decayed_step",
        lambda theta, update, c, order: DECAYED(theta, update, c, DecayOrder.UPDATED),
    ),
    "buffer without the new gradient": (sgd, "gradient_scale", lambda state, options, multiplier: 0.0),
}


@pytest.mark.numpy
@pytest.mark.parametrize("fault", IN_ADAM)
def test_fault_in_the_reference_of_adamw_turns_the_check_red(fault, monkeypatch):
    monkeypatch.setattr(*IN_ADAM[fault])
    assert exit_status("numpy", ADAMW["numpy"]) is ExitStatus.NOT_AS_EXPECTED


@pytest.mark.numpy
@pytest.mark.parametrize("fault", IN_SGD)
def test_fault_in_the_reference_of_sgdw_turns_the_check_red(fault, monkeypatch):
    monkeypatch.setattr(*IN_SGD[fault])
    assert exit_status("numpy", SGDW["numpy"]) is ExitStatus.NOT_AS_EXPECTED


class Proxy:
    """An adapter's optimizer with one fault between it and the judge; without one it passes all through."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def step(self, gradients, lr):
        self.inner.step(gradients, lr)

    def read_parameters(self, names=None):
        return self.inner.read_parameters(names)


class LearningRateDropped(Proxy):
    def step(self, gradients, lr):
        self.inner.step(gradients, self.inner.held["lr"])


class LearningRateHalved(Proxy):
    def step(self, gradients, lr):
        self.inner.step(gradients, 0.5 * lr)


class LearningRateOfTheStepBefore(Proxy):
    def step(self, gradients, lr):
        self.inner.step(gradients, getattr(self, "last", lr))
        self.last = lr


class GradientSignFlipped(Proxy):
    def step(self, gradients, lr):
        self.inner.step({name: -grad for name, grad in gradients.items()}, lr)


class GradientNotMoved(Proxy):
    def step(self, gradients, lr):
        *_, last = gradients
        self.inner.step({**gradients, last: np.zeros_like(gradients[last])}, lr)


class GradientOfTheStepBefore(Proxy):
    def step(self, gradients, lr):
        self.inner.step(getattr(self, "last", gradients), lr)
        self.last = gradients


class GradientInFloat32(Proxy):
    def step(self, gradients, lr):
        rounded = {name: np.asarray(grad, np.float32).astype(np.float64) for name, grad in gradients.items()}
        self.inner.step(rounded, lr)


class DecayAddedToTheGradient(Proxy):
    def step(self, gradients, lr):
        theta, weight_decay = self.inner.read_parameters(), self.inner.held["weight_decay"]
        self.inner.step({name: grad + weight_decay * theta[name] for name, grad in gradients.items()}, lr)


class SteppedTwice(Proxy):
    def step(self, gradients, lr):
        self.inner.step(gradients, lr)
        self.inner.step(gradients, lr)


class ParametersOfTheStepBefore(Proxy):
    def __init__(self, inner):
        super().__init__(inner)
        self.last = inner.read_parameters()

    def step(self, gradients, lr):
        self.last = self.inner.read_parameters()
        self.inner.step(gradients, lr)

    def read_parameters(self, names=None):
        return dict(self.last)


class ParametersInFloat32(Proxy):
    def read_parameters(self, names=None):
        return {name: np.asarray(value, np.float32) for name, value in self.inner.read_parameters(names).items()}


IN_ADAPTERS = Proxy.__subclasses__()


def plant(monkeypatch, framework, proxy):
    """Put `proxy` around every optimizer that the adapter of `framework` builds."""
    if missing_imports(FRAMEWORKS[framework]):
        pytest.skip(f"{framework} is not installed")
    adapter = type(load_adapter(framework))
    build = adapter.build
    monkeypatch.setattr(adapter, "build", lambda self, *args, **options: proxy(build(self, *args, **options)))


@pytest.mark.parametrize("proxy", IN_ADAPTERS, ids=lambda proxy: proxy.__name__)
@pytest.mark.parametrize(("framework", "spec"), rows(ADAMW))
def test_fault_in_an_adapter_turns_the_check_red(framework, spec, proxy, monkeypatch):
    plant(monkeypatch, framework, proxy)
    assert exit_status(framework, spec) is ExitStatus.NOT_AS_EXPECTED


@pytest.mark.parametrize(("framework", "spec"), rows(ADAMW))
def test_proxy_without_a_fault_changes_nothing(framework, spec, monkeypatch):
    plant(monkeypatch, framework, Proxy)
    assert exit_status(framework, spec) is ExitStatus.AS_EXPECTED


@pytest.mark.parametrize(("framework", "spec"), rows(ADAMW))
def test_decay_lost_between_adapter_and_optimizer_turns_the_check_red(framework, spec, monkeypatch):
    if missing_imports(FRAMEWORKS[framework]):
        pytest.skip(f"{framework} is not installed")
    adapter = type(load_adapter(framework))
    build = adapter.build

    def without_decay(self, target, hyperparameters, *args, **options):
        kept = {name: value for name, value in hyperparameters.items() if name != "weight_decay"}
        return build(self, target, kept, *args, **options)

    monkeypatch.setattr(adapter, "build", without_decay)
    assert exit_status(framework, spec) is ExitStatus.NOT_AS_EXPECTED
