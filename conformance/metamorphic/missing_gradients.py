"""A parameter without a gradient in a step is treated as the framework's convention has it (OC403).

What it runs: a path with gradients missing from one half of the parameters at step 1, before there is any state, and
from the other half at step 3. Where the framework skips such a parameter, neither it (its decay included) nor its
state may change in that step, and, unless the framework's step count is shared, it must go on as if the step had not
been: compared with the same parameters alone, on a path that leaves the step out. Where the framework takes the
gradient for zero, the path must be the one over zeros.

When it applies: always. Cost: three walks, and up to five more where something differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from ...adapters.protocol import MissingGradient
from ..subject import Arrays, Float64Array, read
from ..traces.trace import Step
from .coupling import coupling
from .explanations import rounding_explains
from .needs import REPRODUCIBLE, needs
from .setting import Outcome, Setting, State

_FIRST, _LATER = 1, 3
"""Steps in which every second parameter has no gradient, and the others: before there is state, and after."""


SOURCES: Mapping[str, str] = {
    "torch": "torch.optim.Optimizer.zero_grad: a step behaves differently if the gradient is 0 or None",
    "tensorflow": "keras.src.optimizers.base_optimizer, BaseOptimizer._filter_empty_gradients and apply",
    "jax": "jax.grad returns an array for every input, zeros where the output does not depend on it",
    "numpy": "optconform's protocol for NumPy optimizers: step(params, grads, lr) with None among grads",
}
"""Framework -> where the convention stands that its adapter declares as `missing_gradient`."""


@needs(REPRODUCIBLE)
def missing_gradients_check(setting: Setting) -> Iterator[Outcome]:
    """Yield whether the convention is kept, and the first departure from it."""
    steps = [_without(step, list(setting.theta)) for step in setting.steps]
    optimizer = setting.build()
    convention = optimizer.missing_gradient
    if convention is MissingGradient.ZERO:
        zeros = [replace(step, gradients=_filled(step, setting.theta)) for step in steps]
        departure = _not_as_zeros(setting, setting.walk(optimizer, steps), setting.walk(setting.build(), zeros))
    else:
        departure, path = None, []
        before, state = dict(setting.theta), optimizer.read_state()
        for step in steps:
            optimizer.step(step.gradients, setting.lr(step))
            after, left = read(optimizer), optimizer.read_state()
            departure = departure or _moved(step, before, after) or _state_changed(step, state, left)
            path.append(after)
            before, state = after, left
        if departure is None and convention is MissingGradient.SKIPPED:
            departure = _not_as_left_out(setting, steps, path)
    source = SOURCES[setting.subject.target.framework]
    if departure is None:
        yield Outcome("passed", f"{convention} ({source})")
    else:
        yield Outcome(
            departure.outcome,
            f"{departure.message}; the convention of {setting.subject.target.framework}: {convention} ({source})",
            parameter=departure.parameter,
        )


def _without(step: Step, names: list[str]) -> Step:
    """Return `step` with the gradients missing that are to be missing in it."""
    missing = {_FIRST: names[1::2], _LATER: names[::2]}.get(step.index, [])
    gradients = {name: None if name in missing else grad for name, grad in step.gradients.items()}
    return replace(step, gradients=gradients)


def _filled(step: Step, theta: Arrays) -> dict[str, Float64Array | None]:
    return {name: np.zeros_like(theta[name]) if grad is None else grad for name, grad in step.gradients.items()}


def _missing(step: Step) -> list[str]:
    return [name for name, grad in step.gradients.items() if grad is None]


def _failed(step: Step, name: str, what: str) -> Outcome:
    return Outcome("failed", f"{name!r} has no gradient in step {step.index}, and {what}", parameter=name)


def _moved(step: Step, before: Mapping[str, Float64Array], after: Mapping[str, Float64Array]) -> Outcome | None:
    for name in _missing(step):
        move = after[name] - before[name]
        if np.any(move != 0.0):
            share = -float(np.sum(move * before[name]) / np.sum(before[name] ** 2))
            is_decay = np.allclose(move, -share * before[name], rtol=1e-6, atol=0.0)
            how = f"decays by {share:.3g} of itself" if is_decay else f"moves by up to {np.max(np.abs(move)):.3g}"
            return _failed(step, name, how)
    return None


def _state_changed(step: Step, before: State, after: State) -> Outcome | None:
    for name in _missing(step):
        for slot, arrays in after.items():
            was = before.get(slot, {}).get(name)
            now = arrays.get(name)
            # State that is made now, without a gradient, has no effect as long as it is zero.
            kept = now is None or (not np.any(now) if was is None else np.array_equal(was, now, equal_nan=True))
            if not kept:
                return _failed(step, name, f"its state {slot!r} changes")
    return None


def _not_as_left_out(setting: Setting, steps: list[Step], path: list[Arrays]) -> Outcome | None:
    """Return how parameters go on after a missing gradient, unless as if that step had not been."""
    for absent in (_FIRST, _LATER):
        names = _missing(steps[absent - 1])
        if not names:
            continue
        alone = replace(
            setting.only(*names), steps=[step for step in setting.only(*names).steps if step.index != absent]
        )
        together = [{name: theta[name] for name in names} for theta, step in zip(path, steps, strict=True)]
        together = [theta for theta, step in zip(together, steps, strict=True) if step.index != absent]
        without = alone.walk(alone.build())
        distance = alone.farthest(together, without)
        if distance.ratio > 1.0 and not setting.explains(distance):
            coupled = coupling(setting)
            if coupled is not None:
                return Outcome(
                    "skipped",
                    f"not moved and its state kept; whether it goes on as if the step had not been cannot be told, "
                    f"since the step of {coupled[0]!r} depends on the gradients of {coupled[1]!r}",
                )
            rounding = rounding_explains(alone, together, without, distance)
            if rounding:
                return Outcome(
                    "skipped",
                    "not moved and its state kept; whether it goes on as if the step had not been cannot be told: "
                    f"{rounding}",
                )
            return _failed(
                steps[absent - 1],
                distance.parameter,
                f"later steps are not as if that one had not been, as with a step count that all share: {distance}",
            )
    return None


def _not_as_zeros(setting: Setting, missing: list[Arrays], zeros: list[Arrays]) -> Outcome | None:
    distance = setting.farthest(missing, zeros)
    if distance.ratio <= 1.0:
        return None
    return Outcome("failed", f"a missing gradient is not one of zeros: {distance}", parameter=distance.parameter)
