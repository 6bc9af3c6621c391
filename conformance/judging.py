"""How a trajectory is judged: what the reference takes over before every step, and the arithmetic it allows for."""

from __future__ import annotations

from dataclasses import dataclass

from ..adapters.errors import BuildFailed
from ..adapters.protocol import Optimizer
from ..adapters.text import escape_control
from ..reference.arithmetic import Arithmetic, arithmetic
from ..reference.follow import Mode, state_slots
from ..reference.formats import FORMATS
from ..reference.options import AdamOptions
from ..reference.platforms import platform_of
from ..reference.rules import Options
from .subject import Subject
from .traces.trace import Step


@dataclass(frozen=True, slots=True)
class Judging:
    """The mode of a replay, and the class of evaluations that its bound covers."""

    mode: Mode
    arithmetic: Arithmetic


def judging_of(subject: Subject, optimizer: Optimizer, options: Options, first: Step) -> Judging:
    """Return how `optimizer` is judged by rules with `options`: in the subject's mode, or in the one that fits.

    Parameters suffice in float64 and float32. In 16 bit the running bound on Adam's v soon reaches v itself
    (its errors of u * v a step live for 1 / (1 - beta2) steps), so the moments are taken over too, where the
    optimizer shows them after `first`, a step that `optimizer` takes here.
    """
    allowed = arithmetic(
        subject.dtype,
        platform_of(subject.target.framework, subject.device),
        working=optimizer.computes_in,
        scalars=optimizer.scalars_in,
    )
    asked = None if subject.mode is None else Mode(subject.mode)
    narrow = FORMATS[subject.dtype].precision < FORMATS["float32"].precision
    wants_moments = asked is Mode.FULL_RESYNC if asked else narrow and isinstance(options, AdamOptions)
    if not wants_moments:
        return Judging(asked or Mode.THETA_RESYNC, allowed)
    missing = _missing_slots(optimizer, options, first)
    if missing and asked:
        raise BuildFailed(
            f"{escape_control(subject.target.spec)} shows no {' and no '.join(missing)} in its state, which "
            "full-resync takes over in every step; use --mode theta-resync, which needs parameters only"
        )
    return Judging(Mode.THETA_RESYNC if missing else Mode.FULL_RESYNC, allowed)


def _missing_slots(optimizer: Optimizer, options: Options, first: Step) -> list[str]:
    """Step `optimizer` once, and return the slots of state that it should show by then and does not."""
    optimizer.step(first.gradients, float(optimizer.held["lr"]))
    shown = optimizer.read_state()
    with_gradient = {name for name, grad in first.gradients.items() if grad is not None}
    return sorted(slot for slot in state_slots(options) if not with_gradient <= shown.get(slot, {}).keys())
