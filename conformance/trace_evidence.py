"""What the paired runs over whole traces say: a kind of decay for each parameter, and the verdict they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .closer_look import look_closer
from .evidence import Evidence
from .fits import LEAST_ELEMENTS
from .identify import KindOfDecay, kind_of_decay
from .pairing import paired_steps
from .parameter_use import homogeneous_steps, parameter_use
from .result import Verdict
from .sampled_displacements import EarlyStep, displacements_of
from .series import Displacement
from .subject import Subject
from .traces import Trace

IDENTIFICATION_STEPS = 16
"""Steps of each trace in the paired runs; the trajectory is matched over all of them."""
OWN_VALUES_STEPS = 256
"""Most steps of the paired runs at the user's own values. Paired evidence is kept step by step and compared pair by
pair, so it has a limit that a trace has not."""
READING_STEPS = 4
"""Steps that show whether the step reads the parameters: trust ratios do in the first."""

_PAIRED = ("lr", "weight_decay")
"""Hyperparameters that paired runs cannot do without."""
NAMED_KINDS = (Verdict.DECOUPLED, Verdict.L2, Verdict.EQUIVALENT, Verdict.IGNORED)
"""Verdicts that name one kind at all hyperparameters, which another contradicts; `other` and `mixed` leave room for
all, and so does a scaling that vanishes beside the step where decay is weak."""
DECAYS = (Verdict.DECOUPLED, Verdict.L2, Verdict.EQUIVALENT, Verdict.PRECONDITIONED)
"""Verdicts under which a parameter decays."""


@dataclass(frozen=True, slots=True)
class TraceEvidence:
    """What the paired runs over one trace say."""

    trace: Trace
    local: bool
    kinds: Mapping[str, KindOfDecay]
    displacements: tuple[Displacement, ...] = ()
    """Samples of what decay did to a few tensors, for pictures."""

    @property
    def verdict(self) -> Verdict:
        """The verdict over the parameters that the trace exercises; none if it exercises none.

        Parameters excluded from decay are left out. One in which L2 changes nothing (a 0-d parameter whose gradient
        is normalised, say) agrees with L2, and with a trust ratio: fed with g + lambda*theta it does not move
        differently either. Of a few elements a trust ratio may well leave what L2 would.
        """
        kinds = {name: kind for name, kind in self.kinds.items() if kind.exercised and not kind.excluded}
        verdicts = {kind.verdict for kind in kinds.values()}
        if verdicts & {Verdict.L2, Verdict.PRECONDITIONED}:
            kinds = {name: kind for name, kind in kinds.items() if not kind.unmoved_by_l2}
        # Cautious decay leaves a parameter alone that opposes its step in every one.
        kinds = {name: kind for name, kind in kinds.items() if not any(map(kind.spared_by, self.kinds.values()))}
        if Verdict.PRECONDITIONED in verdicts:
            few = {each.name for each in self.trace.parameters if each.size < LEAST_ELEMENTS}
            kinds = {name: kind for name, kind in kinds.items() if kind.verdict is not Verdict.L2 or name not in few}
        return common_verdict([kind.verdict for kind in kinds.values()])


def identify(subject: Subject, trace: Trace, values: Mapping[str, Any], n_steps: int) -> TraceEvidence:
    """Run the model-free tests on the first `n_steps` of one trace, at the hyperparameters `values`.

    `values` hold canonical `lr` and `weight_decay` among the others. Raises what building and stepping raise.
    """
    theta = subject.initial_parameters(trace)
    use = parameter_use(subject, theta, trace.steps(READING_STEPS), values)
    evidence = {name: Evidence() for name in theta}
    early = {name: EarlyStep() for name in theta}
    steps = trace.steps(n_steps)
    for paired in paired_steps(subject, theta, steps, values, local=use.in_step, parameter_slots=use.slots):
        for name, collected in evidence.items():
            moved = collected.add(paired, name)
            if moved is not None:
                early[name].add(paired.step.index, collected.steps[-1], moved)
    kinds = {
        name: replace(kind_of_decay(collected.steps, subject.dtype), local=use.in_step)
        for name, collected in evidence.items()
    }
    undecided = [name for name, kind in kinds.items() if kind.undecided]
    if undecided:
        kinds |= look_closer(subject, theta, lambda: trace.steps(n_steps), values, undecided, use.slots)
    if use.in_step and any(kind.applied_to == "updated" for kind in kinds.values()):
        for name in homogeneous_steps(subject, theta, trace.steps(READING_STEPS), values):
            kinds[name] = _of_either_order(kinds[name])
    for name in subject.build(theta, values).excluded & kinds.keys():
        kinds[name] = _of_excluded(kinds[name])
    return TraceEvidence(trace, use.in_step, kinds, displacements_of(trace.name, trace.parameters, kinds, early))


def _of_either_order(kind: KindOfDecay) -> KindOfDecay:
    """Return the verdict on a parameter whose step is in proportion to it, so that no order of decay shows."""
    if kind.applied_to != "updated":
        return kind
    reason = "decay moves theta by -c * theta, before or after a step that is in proportion to theta"
    return replace(kind, applied_to="either", reason=reason)


def _of_excluded(kind: KindOfDecay) -> KindOfDecay:
    """Return the verdict on a parameter that the optimizer was told not to decay: `excluded`, unless it decays.

    Where steps share a scale, the decay of other parameters moves it too, but by no decay of its own.
    """
    if kind.verdict in DECAYS:
        return replace(kind, excluded=True)
    reason = "the optimizer was told not to decay this parameter, and does not"
    return replace(kind, verdict=Verdict.EXCLUDED, reason=reason, excluded=True)


def common_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict over parameters: error, then inconclusive, then mixed, then what they have in common.

    `equivalent` agrees with both `decoupled` and `l2`, since for such a parameter they are the same algebra.
    """
    if not verdicts:
        return Verdict.INCONCLUSIVE
    for severe in (Verdict.ERROR, Verdict.INCONCLUSIVE):
        if severe in verdicts:
            return severe
    kinds = set(verdicts)
    if len(kinds) == 2 and Verdict.EQUIVALENT in kinds and kinds & {Verdict.DECOUPLED, Verdict.L2}:
        kinds.remove(Verdict.EQUIVALENT)
    return kinds.pop() if len(kinds) == 1 else Verdict.MIXED


def over_traces(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict over traces: a trace that cannot tell does not undo one that can."""
    return common_verdict([verdict for verdict in verdicts if verdict is not Verdict.INCONCLUSIVE])


def shared_reason(verdict: Verdict, evidence: Sequence[TraceEvidence]) -> str:
    """Return the sentence that explains the verdict: that of the first parameter that shares it.

    Where parameters may differ (`mixed`, `other`, `inconclusive`) it names one for each kind.
    """
    first: dict[Verdict, tuple[str, str]] = {}
    for each in evidence:
        for name, kind in each.kinds.items():
            first.setdefault(kind.verdict, (kind.reason, f"{name!r} of trace {each.trace.name}"))
    if verdict is Verdict.MIXED:
        kinds = sorted(kind for kind in first if kind is not Verdict.INCONCLUSIVE)
        return "parameters have different kinds: " + ", ".join(f"{kind} ({first[kind][1]})" for kind in kinds)
    if verdict not in first:
        return "every parameter is excluded from decay" if first else "no trace has a step to judge"
    reason, where = first[verdict]
    return reason if verdict in (*DECAYS, Verdict.IGNORED) else f"{reason} ({where})"


def at_own_values(subject: Subject, evidence: Sequence[TraceEvidence], held: Mapping[str, Any]) -> TraceEvidence | None:
    """Run the model-free tests at the user's own hyperparameters, over up to 256 steps of one trace.

    That is the smallest of those that decided; None where none did, or where the optimizer holds no number for
    lr or weight_decay. It is what is left to try where no rule of the reference vouches for these hyperparameters.
    """
    decided = [each.trace for each in evidence if each.verdict is not Verdict.INCONCLUSIVE]
    own = {name: held.get(name) for name in _PAIRED}
    if not decided or not all(isinstance(value, int | float) for value in own.values()):
        return None
    trace = min(decided, key=lambda trace: trace.n_steps * sum(parameter.size for parameter in trace.parameters))
    return identify(subject, trace, {**subject.parity(), **own}, OWN_VALUES_STEPS)


def departure(verdict: Verdict, own: TraceEvidence | None, held: Mapping[str, Any]) -> str | None:
    """Return how decay at the user's own hyperparameters departs from `verdict`; None where it does not."""
    if own is None or own.verdict is Verdict.INCONCLUSIVE:
        return None
    if common_verdict([verdict, own.verdict]) is not Verdict.MIXED:
        return None
    return f"{own.verdict} at the user's own {shown_values(held)}: {shared_reason(own.verdict, [own])}"


def shown_values(held: Mapping[str, Any]) -> str:
    """Return those of `held` that paired runs use, as text."""
    return ", ".join(f"{name}={held[name]:.6g}" for name in _PAIRED)
