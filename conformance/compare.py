"""Compare two optimizers: the same path or not, from which step on, by which axis, and what would mend it.

Where one of them follows a rule of the reference, the other walks the same path if and only if it stays inside
the certified bound of that rule with those hyperparameters, in every element of every step. Where neither does,
the two are held against each other, and rounding is allowed for by a model of it (`side_by_side`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..adapters.errors import BuildFailed, MissingDevice, MissingFramework, NotReplayable, StepFailed
from ..adapters.options import default_of
from .audit import plain_values, versions
from .axis_differences import Difference, nearest_pair
from .compare_result import CompareResult, Outcome, Side
from .explaining import NAMES, Compared, explained, listed, missing_gradients, where
from .following import follow
from .hypotheses import Hypothesis
from .matching import Matching
from .replaying import OnStep
from .sample_sufficiency import usable_traces
from .side_by_side import SideBySide
from .subject import PROBE_LR, Subject
from .traces import Trace


def compare(
    first: Subject, second: Subject, traces: Sequence[Trace], rerun: str = "", on_step: OnStep | None = None
) -> CompareResult:
    """Return whether `first` and `second` walk the same path on `traces`, and what is between them if not.

    Both must work in one dtype. Each is built with the hyperparameters that the user set for it and its own
    defaults else, weight decay off where it is off; one whose learning rate has no default takes the other's.
    `rerun` is the command that does this again, `on_step` is called after each step of a replay. An optimizer that
    cannot be built or stepped gives the outcome `error`, one that no trace can drive `cannot tell`. Parameters of
    which a trace holds a sample are left out where a sample is not enough for one of the two, and the reason says so.
    """
    start = time.perf_counter()
    left, weak = usable_traces(first, traces)
    left, weaker = usable_traces(second, left)
    usable = [trace for trace in left if trace.n_steps]
    blank = CompareResult(
        Outcome.CANNOT_TELL,
        "no trace has a step to judge",
        _side(first),
        _side(second),
        first.dtype,
        first.device,
        traces=tuple({"name": trace.name, "sha256": trace.sha256} for trace in traces),
        rerun=rerun,
    )
    pair = Compared(first, second, *values_of(first, second), usable, on_step)
    try:
        result = _compared(pair, blank) if usable else blank
    except NotReplayable as error:
        result = replace(blank, reason=str(error))
    except (BuildFailed, MissingDevice, MissingFramework, StepFailed) as error:
        result = replace(blank, outcome=Outcome.ERROR, reason=str(error))
    left_out = "".join(f"; left out: {each.message}" for each in (*weak, *weaker))
    return replace(result, reason=result.reason + left_out, seconds=time.perf_counter() - start)


def values_of(first: Subject, second: Subject) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the hyperparameters that each is built with: its own, and a learning rate where it has no default."""
    rates = [each.hyperparameters.get("lr", default_of(each.target, "lr")) for each in (first, second)]
    needed = next((rate for rate in rates if isinstance(rate, int | float)), PROBE_LR)
    one, other = (
        dict(each.hyperparameters) | ({"lr": needed} if rate is None else {})
        for each, rate in zip((first, second), rates, strict=True)
    )
    return one, other


def _compared(pair: Compared, blank: CompareResult) -> CompareResult:
    one, other = matchings = pair.matchings()
    nearest = nearest_pair(one.accepted, other.accepted) if one.accepted and other.accepted else None
    hypotheses = nearest[:2] if nearest else (next(iter(one.accepted), None), next(iter(other.accepted), None))
    result = replace(
        blank,
        first=_followed(blank.first, one, hypotheses[0]),
        second=_followed(blank.second, other, hypotheses[1]),
        differences=tuple(nearest[2]) if nearest else (),
    )
    for name, matching in zip(NAMES, matchings, strict=True):
        if matching.non_finite:
            at = matching.non_finite
            reason = (
                f"{name} is NaN or infinite in {at['parameter']!r} from step {at['step']} of {at['trace']} on, "
                "which nothing can be compared with"
            )
            return replace(result, reason=reason)
    if hypotheses == (None, None):
        return _by_rounding(pair, result, matchings)
    return _by_rule(pair, result, matchings, hypotheses)


def _by_rule(
    pair: Compared,
    result: CompareResult,
    matchings: tuple[Matching, Matching],
    hypotheses: tuple[Hypothesis | None, Hypothesis | None],
) -> CompareResult:
    """Decide by the bound of the rule that the first optimizer follows, or the second where the first follows none."""
    leading = 0 if hypotheses[0] is not None else 1
    own = hypotheses[leading]
    assert own is not None, "one of the two follows a rule"
    follower, values = ((pair.second, pair.second_values), (pair.first, pair.first_values))[leading]
    (found,) = follow(follower, values, pair.traces, [own], pair.on_step)
    leader, follower_name = NAMES[leading], NAMES[1 - leading]
    result = replace(
        result,
        judged_by=own.rule.name,
        ratio=max(found.ratio, matchings[leading].match.bound_ratio or 0.0),
        elements=found.elements,
        parting=found.parting,
    )
    if not found.elements:
        return replace(result, reason=f"the bound of {own.rule.name} says nothing in {result.dtype} on these traces")
    if found.parting is not None:
        reason = (
            f"they part at {where(found.parting)}: {follower_name} is at {found.parting.found:.9g} where the rule of "
            f"{leader}, {own.rule.name}, leads to {found.parting.expected:.9g} from the same parameters, "
            f"{found.parting.factor:.2g} bounds apart"
        )
        result = replace(result, outcome=Outcome.DIFFERENT, reason=reason)
        return explained(pair, result, matchings, hypotheses)
    apart = missing_gradients(pair)
    if apart is not None:
        return _conventions_part(pair, result, *apart)
    unseen = f"; what they differ in, {listed(result.differences)}, does not show here" if result.differences else ""
    reason = (
        f"{follower_name} stays inside the bound of the rule that {leader} follows, {own.rule.name}, in every element "
        f"of every step: {found.ratio:.2g} of it at most{unseen}"
    )
    return replace(result, outcome=Outcome.SAME, reason=reason)


def _conventions_part(pair: Compared, result: CompareResult, difference: Difference, walk: SideBySide) -> CompareResult:
    """Return the result where one rule is followed by both, but steps without a gradient are taken differently."""
    assert walk.parting is not None, "it is what the difference shows in"
    reason = (
        f"they part at {where(walk.parting)}, {walk.parting.factor:.2g} times what rounding explains, and follow one "
        f"rule wherever there is a gradient; without one, A: {difference.first}; B: {difference.second}"
    )
    return replace(
        result,
        outcome=Outcome.DIFFERENT,
        reason=reason,
        parting=walk.parting,
        judged_by=None,
        ratio=walk.ratio,
        differences=(*result.differences, replace(difference, shows=True, step=walk.parting.step)),
    )


def _by_rounding(pair: Compared, result: CompareResult, matchings: tuple[Matching, Matching]) -> CompareResult:
    """Decide where neither follows a rule of the reference: by what rounding explains."""
    walk = pair.walk()
    result = replace(result, ratio=walk.ratio, elements=walk.elements, parting=walk.parting)
    if walk.non_finite:
        return replace(result, parting=None, reason=f"parameters are NaN or infinite from {walk.non_finite} on")
    if not walk.elements:
        return replace(result, reason="no trace has an element to compare")
    neither = "neither follows a rule of the reference"
    if walk.parting is not None:
        reason = (
            f"they part at {where(walk.parting)}: {walk.parting.found:.9g} in B, {walk.parting.expected:.9g} in A, "
            f"{walk.parting.factor:.2g} times what rounding explains ({neither})"
        )
        result = replace(result, outcome=Outcome.DIFFERENT, reason=reason)
        return explained(pair, result, matchings, (None, None))
    if walk.amplified:
        reason = (
            f"they are up to {walk.ratio:.2g} times what rounding explains apart, but no farther than A is from itself "
            f"when its gradients change in the last place ({neither})"
        )
        return replace(result, reason=reason)
    reason = f"they are never farther apart than rounding explains: {walk.ratio:.2g} of it at most ({neither})"
    return replace(result, outcome=Outcome.SAME, reason=reason)


def _side(subject: Subject) -> Side:
    return Side(
        subject.target.spec,
        subject.target.framework,
        subject.path or subject.adapter.paths[0],
        versions(subject.adapter.versions()),
        plain_values(subject.hyperparameters),
    )


def _followed(side: Side, matching: Matching, hypothesis: Hypothesis | None) -> Side:
    """Return `side` with what the optimizer holds and follows; of its axes those on which no other choice fits."""
    side = replace(side, hyperparameters=plain_values(matching.held) or side.hyperparameters)
    if hypothesis is None:
        return side
    others = [each.axes() for each in matching.accepted]
    axes = {
        axis: value
        for axis, value in hypothesis.axes().items()
        if axis != "rule" and value != "none" and all(each.get(axis) == value for each in others)
    }
    return replace(side, rule=hypothesis.rule.name, axes=axes, bound_ratio=matching.match.bound_ratio)
