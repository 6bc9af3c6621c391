"""An option that a constructor accepts must have an effect (OC413).

What it runs: every option of `EFFECTS` that the constructor names, as it is and flipped; some bit of some parameter
must differ. Then an option that no optimizer has: a constructor that accepts it accepts any misspelt one as well, and
those of `VANISHING` are tried besides, which it does not name either.

When it applies: always. An option that changes no number by design, such as PyTorch's `foreach`, has no effect to be
seen in the parameters; it is reported only where it came in like the one that does not exist and nothing of its name
is kept. What is refused, by the constructor or, late but aloud, by the step, is not without effect. Cost: two walks
for each option.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ...adapters.errors import BuildFailed, StepFailed, UnknownOption
from ...adapters.options import accepts
from ...adapters.signatures import signature_of
from .attempts import attempted
from .needs import REPRODUCIBLE, needs
from .option_effects import ACT_LATER, EFFECTS, VANISHING, OptionEffect
from .setting import Outcome, Setting, negated, same_bits

NO_SUCH_OPTION = "optconform_no_such_option"
"""An option that no optimizer has."""


@needs(REPRODUCIBLE)
def options_check(setting: Setting) -> Iterator[Outcome]:
    """Yield whether each known option of the constructor changes a bit, and whether one that cannot be is refused."""
    options = signature_of(setting.subject.target).defaults
    against = [replace(step, gradients=negated(step.gradients)) for step in setting.steps]
    unmoved = same_bits(setting.plain, setting.walk(setting.build(), against))
    later = ACT_LATER.get(getattr(setting.subject.target.attribute, "__name__", ""), {})
    for effect in EFFECTS:
        for name in effect.names:
            if name not in options or not (options[name] is None or isinstance(options[name], bool)):
                continue
            if unmoved or name in later:
                reason = later.get(name, f"no gradient has an effect in the first {len(setting.steps)} steps")
                yield Outcome("skipped", reason, variant=name)
            else:
                yield from attempted(_flipped(setting, effect, name, options[name]), name)
    yield from attempted(_unknown(setting), "unknown")


def _flipped(setting: Setting, effect: OptionEffect, name: str, default: Any) -> Iterator[Outcome]:
    """Yield whether the walk with the option the other way round differs in any bit."""
    if all(value.ndim < effect.dimensions for value in setting.theta.values()):
        yield Outcome("skipped", f"it acts on parameters of {effect.dimensions} dimensions, and there are none")
        return
    target = setting.subject.target
    besides = {other: value for other, value in effect.besides.items() if accepts(target, other)}
    flag = not setting.values.get(name, default)
    try:
        flipped, unflipped = (
            setting.walk(setting.subject.build(setting.theta, {**setting.values, **besides, name: value}))
            for value in (flag, not flag)
        )
    except StepFailed as error:
        # Loud, if late: nobody trains on without noticing.
        yield Outcome("skipped", f"refused when stepping with {name}={flag} or {not flag}: {error}")
        return
    if same_bits(flipped, unflipped):
        message = f"{name}={flag} is accepted and changes no bit of any parameter"
        yield Outcome("failed", message, evidence={"option": name})
    else:
        yield Outcome("passed", f"{name}={flag} changes the parameters")


def _unknown(setting: Setting) -> Iterator[Outcome]:
    """Yield what the constructor does with an option that it cannot know, and which others vanish like it."""
    accepted = _walked_with(setting, NO_SUCH_OPTION)
    if accepted is None:
        yield Outcome("passed", "an option that does not exist is refused")
        return
    if not accepted.same_bits:
        yield Outcome("skipped", f"{NO_SUCH_OPTION}=True changes the parameters, so **kwargs are put to some use")
        return
    named = signature_of(setting.subject.target).defaults
    candidates = [name for name in VANISHING.get(setting.subject.target.framework, ()) if name not in named]
    tried = {name: _walked_with(setting, name) for name in candidates}
    lost = [name for name, walked in tried.items() if walked is not None and walked.same_bits and not walked.held]
    besides = f"; so are {', '.join(lost)}, which it does not name either" if lost else ""
    yield Outcome(
        "failed",
        f"an option that does not exist ({NO_SUCH_OPTION}=True) is accepted and changes nothing, so that a misspelt "
        f"one goes unnoticed{besides}",
        evidence={"accepted": [NO_SUCH_OPTION, *lost]},
    )


@dataclass(frozen=True, slots=True)
class _Walked:
    """What became of an option that was handed to the constructor behind the back of its signature."""

    same_bits: bool
    held: bool
    """Whether the optimizer keeps anything under the option's name."""


def _walked_with(setting: Setting, option: str) -> _Walked | None:
    """Return what `option=True` changes; None where the constructor, or the step, refuses it."""
    target = replace(setting.subject.target, attribute=_with_option(setting.subject.target.attribute, option))
    other = replace(setting, subject=replace(setting.subject, target=target))
    try:
        optimizer = other.build()
        return _Walked(same_bits(setting.plain, other.walk(optimizer)), option in _kept(optimizer))
    except (BuildFailed, StepFailed, UnknownOption):
        return None


def _with_option(attribute: Any, option: str) -> Any:
    """Return a class or factory with the same signature that hands `option=True` to `attribute` besides."""
    if not inspect.isclass(attribute):

        @functools.wraps(attribute)
        def factory(*args: Any, **kwargs: Any) -> Any:
            return attribute(*args, **kwargs, **{option: True})

        return factory

    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        attribute.__init__(self, *args, **kwargs, **{option: True})

    return type(attribute.__name__, (attribute,), {"__init__": initialise, "__module__": attribute.__module__})


def _kept(optimizer: Any) -> set[str]:
    """Return the names under which an optimizer keeps anything: its attributes, and the entries of its groups."""
    built = getattr(optimizer, "optimizer", None)
    groups = getattr(built, "param_groups", None) or ()
    return set(getattr(built, "__dict__", ())).union(*groups)
