"""How much of a decay is left after rounding: the effective decay, measured against the nominal one.

At zero gradient nothing moves theta but decay, so one step shows what of it the working precision keeps:

    effective ratio = <theta, -r> / (c * <theta, theta>),   r = theta_1 (with decay) - theta_1 (without)

over all parameters that decay, theta as the optimizer holds it, sums in float64. c is nominal: what the law
gives at the learning rate and weight decay that the optimizer holds. 1 is decay as configured, 0 is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..adapters.errors import StepFailed
from ..adapters.options import default_of
from ..adapters.protocol import Optimizer
from ..reference.formats import FORMATS
from .forms import FORMS
from .law import CAUTIOUS, Law
from .result import Decay, Match, Verdict
from .subject import Arrays, Float64Array, Subject, read
from .trace_evidence import TraceEvidence
from .traces import Trace

DECAYING = frozenset({Verdict.DECOUPLED, Verdict.EQUIVALENT})
"""Verdicts under which decay takes a share of theta itself."""
_L2_RULES = frozenset({"adam_l2", "sgd_l2"})
"""Rules of the reference whose decay is part of the gradient."""
TOLERATED_CHANGE = 0.1
"""Change of the decay by rounding above which OC204 fires."""
ROUNDINGS_OF_THETA = 2
"""In one application of decay, each of at most half an ulp of theta: of 1 - c, and of its product with theta or of the
difference theta - c*theta."""
ROUNDINGS_OF_C = 4
"""Relative ones: lr, weight_decay, their product, and the product with theta."""


@dataclass(frozen=True, slots=True)
class EffectiveDecay:
    """What one step at zero gradient left of the nominal decay."""

    trace: str
    """Its theta_0 was decayed."""
    dtype: str
    lr: float
    weight_decay: float
    nominal: float
    """c, the share of theta that one step should take away."""
    ratio: float
    worst_parameter: str
    """The parameter whose own ratio is farthest from 1."""
    worst_ratio: float
    elements: int
    """Elements other than 0: only these can decay."""
    unchanged: float
    """Share of them in which decay changed no bit."""
    half_ulp: float
    """<|theta|, half an ulp of theta> / (c * <theta, theta>): what one rounding can take from a ratio, or add."""
    applications: int = 1
    """How many times a step applies the decay (`Form.repeats`); each application rounds."""
    later: tuple[int, float] | None = None
    """(steps, share of their nominal decay that is there by then), where one step seemed to lose it."""

    @property
    def carried(self) -> bool:
        """Whether what one step does not show is there after many: in master weights, say, or by chance."""
        # Each element rounded by chance is off by about its own ulp, of which decay is a few: 3 standard errors.
        tolerated = min(max(TOLERATED_CHANGE, 3.0 / math.sqrt(self.elements)), 0.5)
        return self.later is not None and abs(self.later[1] - 1.0) <= tolerated

    @property
    def changed_by_rounding(self) -> bool:
        """Whether the ratio is more than 10% from 1, and no farther than rounding can take it."""
        return not self.carried and TOLERATED_CHANGE < abs(self.ratio - 1.0) <= self._by_rounding

    @property
    def unexplained(self) -> bool:
        """Whether the ratio is more than 10% from 1, and farther than rounding can take it."""
        return not self.carried and abs(self.ratio - 1.0) > max(TOLERATED_CHANGE, self._by_rounding)

    @property
    def _by_rounding(self) -> float:
        """How far rounding can take the ratio from 1."""
        of_theta = ROUNDINGS_OF_THETA * self.applications * self.half_ulp
        return of_theta + ROUNDINGS_OF_C * FORMATS[self.dtype].unit_roundoff

    @property
    def lost(self) -> bool:
        """Whether rounding leaves nothing: no element moved, as none does whose c*theta is within half an ulp."""
        still = self.later is None or self.later[1] == 0.0
        return still and self.unchanged == 1.0 and self.applications * self.half_ulp >= 1.0

    def __str__(self) -> str:
        """Return the ratio and how it was measured, for reports."""
        still = f"; {self.unchanged:.0%} of the elements do not move" if self.unchanged else ""
        later = f"; {self.later[1]:.3g} of it is there after {self.later[0]} steps" if self.later else ""
        where = f"at zero gradient on trace {self.trace}"
        return f"{self.ratio:.3g} of the nominal c = {self.nominal:.3g}, {where}{still}{later}"


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """Why there is no effective decay to state."""

    reason: str

    def __str__(self) -> str:
        """Return the reason, for reports."""
        return f"not measured: {self.reason}"


def left_of_decay(
    subject: Subject, verdict: Verdict, evidence: Sequence[TraceEvidence], law: Law | None, match: Match
) -> EffectiveDecay | Unmeasured | None:
    """Return the effective decay on the smallest trace that decided the kind; None where the verdict is another kind.

    The law is that of the paired runs, else that of the matched rule: in 16 bits rounding leaves the runs nothing to
    find one from, nor a kind, and then every trace serves. Raises what building raises.
    """
    if verdict not in DECAYING:
        return None
    known = law if law is not None and law.form is not None else law_of_match(match)
    if known is None or not evidence:
        return Unmeasured("the law of the decay is not known")
    if known.decay.form == CAUTIOUS:
        return Unmeasured("decay is cautious, and at zero gradient there is no step for it to agree with")
    if known.late:
        return Unmeasured(f"decay starts in step {known.late + 1}, and the first step at zero gradient shows none")
    decided = [each for each in evidence if each.verdict in DECAYING] or evidence
    smallest = min(decided, key=lambda each: sum(parameter.size for parameter in each.trace.parameters))
    names = [name for name, kind in smallest.kinds.items() if kind.verdict in DECAYING]
    return effective_decay(subject, smallest.trace, known, names or None)


def effective_decay(
    subject: Subject, trace: Trace, law: Law, names: Iterable[str] | None = None
) -> EffectiveDecay | Unmeasured:
    """Return what is left of a decay in the subject's dtype at the user's own hyperparameters, on theta_0 of `trace`.

    `law` may come from the paired runs (`find_law`) or from the rule that the trajectory follows
    (`law_of_match`); `names` are the parameters that decay, all by default. Raises `BuildFailed` where the
    optimizer cannot be built; a step that fails at zero gradient, or leaves NaN or infinity, is `Unmeasured`.
    """
    if not subject.hyperparameters.get("weight_decay", default_of(subject.target, "weight_decay")):
        return Unmeasured("weight decay is off")
    values = subject.parity()
    start = subject.initial_parameters(trace)
    decayed, plain = subject.build(start, values), subject.build_without_decay(start, values)
    lr, weight_decay = decayed.held.get("lr"), decayed.held.get("weight_decay")
    if not isinstance(lr, int | float) or not isinstance(weight_decay, int | float):
        return Unmeasured(f"the optimizer holds lr={lr!r} and weight_decay={weight_decay!r}, which are no numbers")
    nominal = nominal_coefficient(law, lr, weight_decay)
    if nominal is None:
        return Unmeasured(f"no coefficient follows from {law.decay.law} at lr={lr}, weight_decay={weight_decay}")
    before = read(decayed)
    zeros = {name: np.zeros_like(value) for name, value in before.items()}
    try:
        with np.errstate(all="ignore"):  # 0/0 where eps rounds to 0: seen in the result, without a warning
            for optimizer in (decayed, plain):
                optimizer.step(zeros, lr)
    except StepFailed as error:
        return Unmeasured(f"the step at zero gradient failed: {error}")
    with_decay, without = read(decayed), read(plain)
    acted_on = without if law.decay.applied_to == "updated" else before
    chosen = [name for name in (before if names is None else names) if np.any(acted_on[name])]
    if not chosen:
        return Unmeasured(f"theta is zero throughout trace {trace.name}")
    if not all(np.all(np.isfinite(end[name])) for end in (with_decay, without) for name in chosen):
        return Unmeasured("the step at zero gradient leaves NaN or infinity")
    taken = {name: without[name] - with_decay[name] for name in chosen}
    theta = {name: acted_on[name] for name in chosen}
    measured = measured_decay(trace.name, subject.dtype, (lr, weight_decay, nominal), theta, taken)
    measured = replace(measured, applications=law.form.repeats if law.form else 1)
    moves_otherwise = any(np.any(without[name] != before[name]) for name in chosen)
    if not (measured.lost or measured.changed_by_rounding) or moves_otherwise or nominal >= 1.0:
        return measured
    return replace(measured, later=_after_many(decayed, zeros, before, chosen, measured))


MANY_STEPS = 2048
"""Most steps at zero gradient after which a decay that one step does not show is looked for."""


def _after_many(
    optimizer: Optimizer, zeros: Arrays, start: Arrays, names: Iterable[str], first: EffectiveDecay
) -> tuple[int, float] | None:
    """Return (steps, share of their nominal decay that is there by then); `optimizer` has taken the first.

    As many steps as nominally amount to four unit roundoffs: by then master weights show, and stochastic rounding
    has evened out. None where a step fails.
    """
    wanted = 4.0 * FORMATS[first.dtype].unit_roundoff / abs(first.nominal)
    steps = min(MANY_STEPS, max(2, math.ceil(wanted))) if math.isfinite(wanted) else MANY_STEPS
    try:
        for _ in range(steps - 1):
            optimizer.step(zeros, first.lr)
    except StepFailed:
        return None
    end = read(optimizer)
    names = list(names)
    theta, taken = {name: start[name] for name in names}, {name: start[name] - end[name] for name in names}
    if not all(np.all(np.isfinite(value)) for value in taken.values()):
        return None
    nominal = -math.expm1(steps * math.log1p(-first.nominal))
    settings = (first.lr, first.weight_decay, nominal)
    return steps, measured_decay(first.trace, first.dtype, settings, theta, taken).ratio


def nominal_coefficient(law: Law, lr: float, weight_decay: float) -> float | None:
    """Return c = form(factor * lr**a * weight_decay**b); None where the law has no such figures, or c is no decay.

    Both hyperparameters must be positive for c to be one.
    """
    decay = law.decay
    if law.form is None or decay.factor is None or decay.lr_exponent is None or decay.wd_exponent is None:
        return None
    if not (0.0 < lr < math.inf and 0.0 < weight_decay < math.inf):
        return None
    c = law.form.apply(decay.factor * lr**decay.lr_exponent * weight_decay**decay.wd_exponent)
    return c if math.isfinite(c) and c != 0.0 else None


def law_of_match(match: Match) -> Law | None:
    """Return the law of the decoupled rule that a trajectory follows; None where its law, or its kind, is open.

    It serves where 16 bits leave the paired runs nothing to find a law from. An order that is open shows nowhere on
    the trajectory, so the form is taken for the paper's and `applied_to` left open.
    """
    exponents = {"lr*wd": 1.0, "schedule*wd": 0.0, "wd": 0.0}
    l2_fits = any(name.partition("[")[0] in _L2_RULES and ratio <= 1.0 for name, ratio in match.rivals.items())
    if match.rule is None or match.rule in _L2_RULES or l2_fits or match.law not in exponents:
        return None
    form = next(form for form in FORMS if form.name == ("proximal" if match.order == "proximal" else "explicit"))
    applied_to = {"previous": "previous", "updated": "updated", "proximal": "updated"}.get(match.order or "")
    follows = match.law != "wd"
    decay = Decay(
        law=match.law,
        factor=1.0,
        lr_exponent=exponents[match.law],
        wd_exponent=1.0,
        follows_schedule=follows,
        applied_to=applied_to,
        form=form.name,
    )
    return Law(decay, form)


def measured_decay(
    trace: str, dtype: str, settings: tuple[float, float, float], theta: Arrays, taken: Arrays
) -> EffectiveDecay:
    """Return the figures at `settings` (lr, weight_decay, c) from what decay took of each theta.

    Every parameter has an element other than 0, and all elements are finite.
    """
    lr, weight_decay, nominal = settings
    # In units of the largest theta of each parameter, so that no square underflows or overflows.
    largest = {name: float(np.max(np.abs(value))) for name, value in theta.items()}
    overall = max(largest.values())
    ulps = {name: half_ulp(value, dtype) / overall for name, value in theta.items()}
    own = {name: (theta[name] / largest[name], taken[name] / largest[name]) for name in theta}
    theta = {name: value / overall for name, value in theta.items()}
    taken = {name: value / overall for name, value in taken.items()}
    ratios = {name: _inner(at, gone) / (nominal * _inner(at, at)) for name, (at, gone) in own.items()}
    worst = max(ratios, key=lambda name: abs(ratios[name] - 1.0))
    squares = sum(_inner(value, value) for value in theta.values())
    halves = sum(_inner(np.abs(value), ulps[name]) for name, value in theta.items())
    elements = sum(int(np.count_nonzero(value)) for value in theta.values())
    moved = sum(int(np.count_nonzero(taken[name][theta[name] != 0.0])) for name in theta)
    return EffectiveDecay(
        trace=trace,
        dtype=dtype,
        lr=lr,
        weight_decay=weight_decay,
        nominal=nominal,
        ratio=sum(_inner(theta[name], taken[name]) for name in theta) / (nominal * squares),
        worst_parameter=worst,
        worst_ratio=ratios[worst],
        elements=elements,
        unchanged=1.0 - moved / elements,
        half_ulp=halves / (abs(nominal) * squares),
    )


def half_ulp(values: Float64Array, dtype: str) -> Float64Array:
    """Return half the distance from |x| to the next larger number of `dtype`, for values of that dtype in float64."""
    working = FORMATS[dtype]
    _, exponent = np.frexp(values)  # |x| lies in [2**(e - 1), 2**e)
    ulp = np.ldexp(1.0, exponent - working.precision)
    return np.asarray(np.maximum(ulp, working.smallest_subnormal) / 2.0, dtype=np.float64)


def _inner(x: Float64Array, y: Float64Array) -> float:
    return float(np.vdot(x, y))
