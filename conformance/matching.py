"""Hold an optimizer's trajectory against every hypothesis of the reference, and decide which it follows.

A hypothesis is accepted where every element of every step lies inside its bound. A rival is rejected only
where an element lies outside its bound *and* the two rules are further apart there than the own bound
reaches; a rival that is not rejected cannot be told apart, and the match says so.

All hypotheses are tried on a few steps and a sample of coordinates; those left are then replayed in full,
beside their rivals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..reference.formats import FORMATS
from .diagnosis import NO_DECAY, changed_constants, other_decays, rounded_constants
from .hypotheses import Hypothesis, hypotheses, label, neighbours, with_casts
from .judging import Judging, judging_of
from .replaying import OnStep, Run, replay, with_multipliers
from .result import Decision, Match, Verdict
from .series import Distance
from .step_distances import distances_beside
from .traces import Trace
from .traces.trace import Step
from .walking import Walker

SCREENING_STEPS = 6
_SCREENING_SCHEDULE = (1.0, 0.5, 1.0, 0.25, 0.75, 1.0)
"""Multipliers while screening: they change, so that laws and momentum forms part."""
NEAREST = 9
"""Hypotheses whose hyperparameters are rounded where none fits, those that came nearest: three places of epsilon
and three maxima may lie as near each other as a rounding does."""
EXPLANATIONS = 3
"""Changed constants that are tried on every element where they fit the sample."""


@dataclass(frozen=True, slots=True)
class Matching:
    """The match, and what the findings need besides."""

    match: Match
    held: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters at which the trajectory was walked, as the optimizer holds them."""
    accepted: tuple[Hypothesis, ...] = ()
    """The hypotheses that hold every element inside its bound, and the rivals that could not be rejected."""
    first_violation: Mapping[str, Any] = field(default_factory=dict)
    """Where nothing matches: step, parameter, element and factor at which the nearest first left its bound."""
    non_finite: Mapping[str, Any] = field(default_factory=dict)
    """Trace, step and parameter at which the optimizer first left NaN or infinity, where it did."""
    state_dtype: str | None = None
    """Format of the optimizer's moments, where it is known to be another than the parameters'."""
    distances: tuple[Distance, ...] = ()
    """Step by step, for pictures."""

    @property
    def rules(self) -> frozenset[str]:
        """Names of the rules that the trajectory follows."""
        return frozenset(hypothesis.rule.name for hypothesis in self.accepted)

    def contradicts(self, verdict: Verdict) -> bool:
        """Whether every rule that the trajectory follows has the kind of decay that `verdict` excludes."""
        decoupled = {hypothesis.rule.decoupled for hypothesis in self.accepted}
        return decoupled == {{Verdict.DECOUPLED: False, Verdict.L2: True}.get(verdict)}


@dataclass(frozen=True, slots=True)
class _Walk:
    """What every replay of one matching shares."""

    subject: Walker
    values: Mapping[str, Any]
    judging: Judging | None
    traces: Sequence[Trace]
    on_step: OnStep | None
    non_finite: dict[str, Any] = field(default_factory=dict)
    """Filled by the first replay in which the optimizer leaves NaN or infinity."""

    def screened(self, candidates: Sequence[Hypothesis], rival_steps: int = SCREENING_STEPS) -> list[Run]:
        """Return the candidates after a few steps of the first trace, on a sample of coordinates."""
        runs = [Run(each, sampled=True) for each in candidates]
        trace = self.traces[0]
        steps: Iterable[Step] = trace.steps(SCREENING_STEPS)
        if self.subject.steered:
            steps = with_multipliers(steps, _SCREENING_SCHEDULE)
        broken = replay(self.subject, trace, self.values, runs, steps, self.judging, rival_steps=rival_steps)
        self.non_finite.update(self.non_finite or broken)
        return runs

    def in_full(self, own: Sequence[Hypothesis], rivals: Sequence[Hypothesis]) -> list[Run]:
        """Return `own`, over every element of every trace, and the rivals on a sample, in this order."""
        runs = [Run(each, sampled=False) for each in own] + [Run(each, sampled=True) for each in rivals]
        for trace in self.traces:
            broken = replay(self.subject, trace, self.values, runs, trace.steps(), self.judging, self.on_step)
            self.non_finite.update(self.non_finite or broken)
        return runs

    def surviving(self, candidates: Sequence[Hypothesis]) -> list[Hypothesis]:
        """Return the candidates that fit a sample of coordinates: over a few steps first, then over all of them."""
        left = [run.hypothesis for run in self.screened(candidates, rival_steps=0) if run.inside] if candidates else []
        return [run.hypothesis for run in self.in_full((), left) if run.inside and run.elements] if left else []


def match_trajectory(
    subject: Walker,
    traces: Sequence[Trace],
    values: Mapping[str, Any] | None = None,
    *,
    on_step: OnStep | None = None,
) -> Matching:
    """Return which rule the optimizer walks on `traces`, and how far its rivals are.

    `values` are the hyperparameters, the user's own unless given. `on_step` is called after each step of the
    replays over whole traces, with its number. Raises what building and stepping raise.
    """
    usable = [trace for trace in traces if trace.n_steps]
    if not usable:
        return Matching(Match())
    values = subject.parity() if values is None else values
    optimizer = subject.begin(usable[0], values)
    # Without the option there is no decay, and Keras holds None where there is none.
    held = {**optimizer.held, "weight_decay": optimizer.held.get("weight_decay") or 0.0}
    everything = hypotheses(held, optimizer.casts)
    if not everything:  # it must run at these values all the same
        walk = _Walk(subject, values, None, usable, None)
        walk.screened(())
        return Matching(Match(), held, non_finite=walk.non_finite)
    judging = judging_of(subject, optimizer, everything, usable[0])
    walk = _Walk(subject, values, judging, usable, on_step)
    screened = walk.screened(everything)
    left = [run.hypothesis for run in screened if run.inside]
    found, runs = _followed(walk, left, everything, held) if left else (None, screened)
    matching = found or _diagnosed(walk, runs, everything, held)
    wider = judging.state_dtype if judging.state_dtype != subject.dtype else None
    return replace(matching, non_finite=walk.non_finite, state_dtype=wider)


def _followed(
    walk: _Walk, left: Sequence[Hypothesis], everything: Sequence[Hypothesis], held: Mapping[str, Any]
) -> tuple[Matching | None, list[Run]]:
    """Return the match among those of `everything` that are `left`, None if there is none, and their runs in full.

    If one fails, the rest is replayed again: the first may be another one then, and the one that failed is a
    rival, rejected only where it can be told from the first.
    """
    while True:
        rivals = [each for each in neighbours(left[0], everything, held) if each not in left]
        if FORMATS[walk.subject.dtype].precision < FORMATS["float32"].precision:
            rivals += other_decays(left[0])
        if not walk.subject.steered:  # no run without decay is at hand that would show whether there is any
            rivals += other_decays(left[0], (NO_DECAY,))
        runs = walk.in_full(left, rivals)
        candidates = runs[: len(left)]
        if not any(run.elements or not run.inside for run in candidates):
            return Matching(_described(walk.judging, Decision.UNDECIDABLE, candidates[0]), held), candidates
        inside = [run.hypothesis for run in candidates if run.inside]
        if len(inside) == len(left):
            return _decided(walk.judging, runs, held), candidates
        if not inside:
            return None, candidates
        left = inside


def _diagnosed(walk: _Walk, runs: Sequence[Run], everything: Sequence[Hypothesis], held: Mapping[str, Any]) -> Matching:
    """Return what came nearest, left last and by the smallest factor, and whether one changed constant explains it.

    A hyperparameter that is rounded on use makes a hypothesis of its own: if it fits, it is the match. Any other
    constant is an explanation only.
    """
    ranked = sorted(runs, key=lambda run: (-run.first_violation["step"], run.ratio))
    nearest = [run.hypothesis for run in ranked[:NEAREST]]
    fitting = walk.surviving(rounded_constants(nearest, held, walk.subject.dtype))
    for casts in dict.fromkeys(hypothesis.casts for hypothesis in fitting):
        every = [each for plain in everything if (each := with_casts(plain, held, casts)) is not None]
        left = walk.surviving(every)
        found = _followed(walk, left, every, held)[0] if left else None
        if found is not None:
            return found
    changed: dict[Hypothesis, tuple[str, Run]] = {}
    for run in runs:
        for name, hypothesis in changed_constants(run.hypothesis):
            changed.setdefault(hypothesis, (name, run))
    explaining = walk.surviving(list(changed))[:EXPLANATIONS]
    explained = [run.hypothesis for run in walk.in_full(explaining, ()) if run.inside] if explaining else []
    explanation, best = changed[explained[0]] if explained else (None, ranked[0])
    in_full = best
    if best.sampled:
        # The screening has a schedule of its own: what is reported is where the trace itself leaves the nearest.
        (in_full,) = walk.in_full([best.hypothesis], ())
        best = best if in_full.inside else in_full
    name = _name(best.hypothesis)
    distances = distances_beside(in_full.distances, (), name)
    match = _described(
        walk.judging,
        Decision.REJECT,
        best,
        nearest=name,
        rivals={name: best.ratio},
        explained_by=explanation,
    )
    return Matching(match, held, first_violation=best.first_violation, distances=distances)


def _decided(judging: Judging | None, runs: Sequence[Run], held: Mapping[str, Any]) -> Matching:
    """Return the match with the first of `runs`; what is left of the others cannot be told from it."""
    own = runs[0]
    left = [run.hypothesis for run in runs if run.inside]
    axes = [hypothesis.axes() for hypothesis in left]

    def agreed(axis: str) -> str | None:
        """Return the value on which all hypotheses that are left agree; None where they differ or lack the axis."""
        values = {each[axis] for each in axes if axis in each}
        return values.pop() if len(values) == 1 else None

    has_buffer = bool(getattr(own.hypothesis.options, "momentum", 0.0))
    correction = agreed("bias_correction")
    rivals = {label(run.hypothesis, own.hypothesis): run for run in runs[1:]}
    nearest = min((name for name in rivals if not rivals[name].inside), key=lambda name: rivals[name].ratio, default="")
    both_kinds = len({hypothesis.rule.decoupled for hypothesis in left}) > 1
    match = _described(
        judging,
        Decision.CANNOT_TELL if both_kinds else Decision.ACCEPT,
        own,
        rule=own.hypothesis.rule.name,
        law=agreed("law"),
        order=agreed("order"),
        epsilon=agreed("epsilon"),
        bias_correction=correction == "on" if correction is not None else None,
        momentum=agreed("momentum_form") if has_buffer else None,
        bound_ratio=own.ratio,
        rivals={name: run.ratio for name, run in rivals.items()},
        cannot_tell=tuple(name for name, run in rivals.items() if run.inside),
    )
    beside = rivals[nearest].distances if nearest else ()
    distances = distances_beside(own.distances, beside, own.hypothesis.rule.name, nearest)
    return Matching(match, held, tuple(left), distances=distances)


def _described(judging: Judging | None, decision: Decision, run: Run, **more: Any) -> Match:
    """Return a match with what it was judged by, and the counts of `run`."""
    how: dict[str, Any] = {}
    if judging is not None:
        allowed = judging.arithmetic
        mode = judging.mode_of(run.hypothesis)
        how = {"mode": str(mode), "computed_in": allowed.working.name, "platform": allowed.platform.name}
    return Match(decision=decision, elements=run.elements, undecidable=run.undecidable, **how, **more)


def _name(hypothesis: Hypothesis) -> str:
    axes = hypothesis.axes()
    shown = ",".join(f"{axis}={value}" for axis, value in axes.items() if axis != "rule" and value != "none")
    return f"{hypothesis.rule.name}[{shown}]"
