"""What an audit finds out about the decay: verdict, law, matched rule, parameter by parameter, and how surely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """What the optimizer does with weight decay."""

    DECOUPLED = "decoupled"
    L2 = "l2"
    EQUIVALENT = "equivalent"
    PRECONDITIONED = "preconditioned"
    IGNORED = "ignored"
    NONE = "none"
    EXCLUDED = "excluded"
    """Of a single parameter only: it was excluded from decay, and does not decay."""
    MIXED = "mixed"
    OTHER = "other"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Decay:
    """How much decay is applied, to what, and in which form; None where it was not or cannot be found."""

    law: str | None = None
    """`lr*wd`, `schedule*wd`, `wd` or `other`."""
    factor: float | None = None
    """Constant k of x = k * lr**a * wd**b, of which the form makes c."""
    lr_exponent: float | None = None
    wd_exponent: float | None = None
    follows_schedule: bool | None = None
    applied_to: str | None = None
    """`previous`, `updated` or `either`."""
    form: str | None = None
    """`explicit`, `proximal`, `cautious`, `repeated` or `other`."""
    effective_ratio: float | None = None
    """Share of the nominal decay that rounding leaves at the user's own hyperparameters, as `effective_note` says."""
    effective_note: str | None = None
    """On what that share was measured, or why it was not."""
    factor_uncertainty: float | None = None
    """How far rounding can have moved the factor; so below for the exponents."""
    lr_exponent_uncertainty: float | None = None
    wd_exponent_uncertainty: float | None = None


SCHEDULE_WORDS = {
    True: "follows the schedule",
    False: "does not follow the schedule",
    None: "follows the schedule in no power of it",
}
"""`Decay.follows_schedule` in words."""


class Decision(StrEnum):
    """What the bound says about the rules of the reference."""

    ACCEPT = "accept"
    """Every element inside the bound of one rule, and the other kind of decay outside its own."""
    REJECT = "reject"
    """No rule holds every element inside its bound."""
    CANNOT_TELL = "cannot tell"
    """Rules of both kinds of decay hold every element inside their bounds, or are too near each other."""
    UNDECIDABLE = "undecidable"
    """No element has a bound that says anything at this precision."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which rule of the reference the optimizer walks, at the user's hyperparameters."""

    decision: Decision | None = None
    """None where there was nothing to hold against a rule."""
    rule: str | None = None
    law: str | None = None
    order: str | None = None
    epsilon: str | None = None
    bias_correction: bool | None = None
    momentum: str | None = None
    bound_ratio: float | None = None
    """Largest |implementation - reference| / bound of the rule; at most 1 where it matches."""
    rivals: Mapping[str, float] = field(default_factory=dict)
    """The same figure for every rule one axis away, where it lies apart from the match by more than its bound."""
    cannot_tell: tuple[str, ...] = ()
    """Rivals that are not rejected: at most 1 everywhere."""
    elements: int = 0
    """Element comparisons made with the matched (or nearest) rule."""
    undecidable: int = 0
    """Element comparisons of which the bound says nothing: none exists (overflow, 0/0), or it exceeds theta."""
    nearest: str | None = None
    """Where nothing matches: the hypothesis that came nearest."""
    explained_by: str | None = None
    """The one changed constant with which the nearest would match, if there is one."""
    mode: str | None = None
    """What the reference takes over before every step: `theta-resync`, `free-run` or `full-resync`."""
    computed_in: str | None = None
    """Format in which the optimizer is allowed to round every operation."""
    platform: str | None = None
    """Row of the platform table that the bound is for."""


@dataclass(frozen=True, slots=True)
class ParameterResult:
    """The verdict on one parameter tensor of one trace."""

    trace: str
    name: str
    shape: tuple[int, ...]
    verdict: Verdict
    steps: int = 0
    """Steps of the paired runs that were judged."""
    coefficient: tuple[float, ...] = ()
    """c_t of every step in which it could be measured."""
    coefficient_uncertainty: tuple[float, ...] = ()
    """How far rounding can have moved each of them."""
    reason: str = ""
    """One sentence: what the verdict rests on."""
    decoupling_ratio: float | None = None
    """Largest distance of the decay's displacement from -c_t * theta, in units of what rounding explains."""
    substitution_ratio: float | None = None
    """Largest distance from the run fed with g + lambda * theta, likewise."""


@dataclass(frozen=True, slots=True)
class Separation:
    """How surely the verdict stands: its own ratio (at most 1) and that of the nearest rival (far above 1)."""

    own_ratio: float | None = None
    nearest_rival: str | None = None
    rival_ratio: float | None = None
