"""How a trajectory is judged: what the reference takes over before every step, and the arithmetic it allows for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..adapters.errors import BuildFailed
from ..adapters.protocol import Trajectory
from ..adapters.text import escape_control
from ..reference.arithmetic import Arithmetic, arithmetic
from ..reference.follow import Mode, state_slots
from ..reference.formats import FORMATS
from ..reference.options import AdamOptions
from ..reference.platforms import platform_of
from .hypotheses import Hypothesis
from .traces import Trace
from .traces.trace import Step
from .walking import Walker


@dataclass(frozen=True, slots=True)
class Judging:
    """The mode of a replay, and the class of evaluations that its bound covers."""

    mode: Mode
    arithmetic: Arithmetic
    state_dtype: str
    """Format of the optimizer's moments where they were looked at; that of the parameters otherwise."""

    def mode_of(self, hypothesis: Hypothesis) -> Mode:
        """Return the mode in which `hypothesis` is followed: L2 cannot run free, and is resynchronised instead."""
        # What L2 does to theta comes back through the gradient.
        runs_free = self.mode is not Mode.FREE_RUN or hypothesis.rule.decoupled
        return self.mode if runs_free else Mode.THETA_RESYNC


def usual_mode(dtype: str, hypothesis: Hypothesis) -> Mode:
    """Return the mode in which an optimizer that holds parameters in `dtype` is judged by `hypothesis`.

    Parameters suffice in float64 and float32. In 16 bit the running bound on Adam's v soon reaches v itself
    (its errors of u * v a step live for 1 / (1 - beta2) steps), so the moments are taken over too.
    """
    narrow = FORMATS[dtype].precision < FORMATS["float32"].precision
    return Mode.FULL_RESYNC if narrow and isinstance(hypothesis.options, AdamOptions) else Mode.THETA_RESYNC


def judging_of(subject: Walker, optimizer: Trajectory, candidates: Sequence[Hypothesis], trace: Trace) -> Judging:
    """Return how `optimizer` is judged by `candidates`: in the subject's mode, or in the usual one.

    Moments are taken over only where the optimizer shows them after a step of `trace`, which `optimizer` takes here.
    """
    allowed = arithmetic(
        subject.dtype,
        platform_of(subject.target.framework, subject.device),
        working=optimizer.computes_in,
        scalars=optimizer.scalars_in,
    )
    asked = None if subject.mode is None else Mode(subject.mode)
    if asked is Mode.FULL_RESYNC and all(getattr(each.options, "momentum", None) == 0.0 for each in candidates):
        asked = Mode.THETA_RESYNC  # Without momentum there is nothing besides the parameters to take over.
    if (asked or usual_mode(subject.dtype, candidates[0])) is not Mode.FULL_RESYNC:
        return Judging(asked or Mode.THETA_RESYNC, allowed, subject.dtype)
    missing, state_dtype = _state_after_a_step(optimizer, candidates, trace, subject.dtype)
    if missing and asked:
        raise BuildFailed(
            f"{escape_control(subject.target.spec)} shows no {' and no '.join(missing)} in its state, which "
            "full-resync takes over in every step; use --mode theta-resync, which needs parameters only"
        )
    return Judging(Mode.THETA_RESYNC if missing else Mode.FULL_RESYNC, allowed, state_dtype)


def _state_after_a_step(
    optimizer: Trajectory, candidates: Sequence[Hypothesis], trace: Trace, dtype: str
) -> tuple[list[str], str]:
    """Step `optimizer` once with a gradient, and return what its state looks like then.

    That is the slots that it should show and does not, and the narrowest format of those it does, `dtype` where it
    shows none.
    """
    step = next((step for step in trace.steps() if _with_gradient(step)), None)
    if step is None:
        return [], dtype
    optimizer.step(step.gradients, float(optimizer.held["lr"]))
    shown = optimizer.read_state()
    slots = frozenset().union(*(state_slots(each.options) for each in candidates))
    formats = {str(array.dtype) for slot in slots for array in shown.get(slot, {}).values()} & FORMATS.keys()
    narrowest = min(formats, key=lambda name: FORMATS[name].precision, default=dtype)
    return sorted(slot for slot in slots if not _with_gradient(step) <= shown.get(slot, {}).keys()), narrowest


def _with_gradient(step: Step) -> set[str]:
    return {name for name, grad in step.gradients.items() if grad is not None}
