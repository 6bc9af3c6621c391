"""What the gate measured of one case beyond the verdict, and where: what a baseline keeps, and compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..conformance.result import Result
from .case import Case


@dataclass(frozen=True, slots=True)
class Place:
    """The hardware that a run took place on."""

    device: str
    """`cpu`, or `gpu:0` and the like."""
    device_class: str
    """What baselines are made for: `cpu`, or the name of the GPU. Figures of two classes are not compared."""
    name: str
    """The processor's, or the GPU's, own name. Bits of two processors are not compared."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Of a GPU: `driver`, `capability`, `memory`, `runtime`; of a processor: `machine`, `system`, `vector`."""


@dataclass(frozen=True, slots=True)
class Apart:
    """How far two runs of one case are apart, over all elements of all steps.

    In units in the last place of the largest element of the tensor, after the same step.
    """

    largest: float
    median: float
    share: float
    """Share of elements that differ at all, 0 to 1."""
    steps: int
    """How many steps there were, for both to drift apart in."""
    against: str
    """What it is measured against, such as `fused on cpu`."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One case that ran: the figures that a baseline holds."""

    bits: str = ""
    """SHA-256 over every parameter after every step, as 64 hexadecimal digits; empty where nothing ran.

    Of a large case, over the sample's parameters after the last step."""
    runs: int = 0
    """How often the steps were executed for that: of a large case always twice."""
    reproducible: bool | None = None
    """Whether every run gave the same bits; None where it ran but once."""
    from_cpu: Apart | None = None
    """Distance from the same case on the CPU."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """Settings of the framework that change bits: determinism, TF32."""
    proof: str = ""
    """What showed that path and device were really taken."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case of a run of the gate: it ran, it could not, or it was skipped."""

    case: Case
    result: Result
    """Verdict, bound ratio, rivals, findings and checks, as of an audit."""
    measured: Measured = field(default_factory=Measured)
    skipped: str = ""
    """Why it did not run although nothing is wrong: the target or this version has no such way. Empty where it ran."""


@dataclass(frozen=True, slots=True)
class GateRun:
    """All cases of one run of the gate, in the order of their names, before they are held against a baseline."""

    place: Place
    results: tuple[CaseResult, ...]
    not_asked: tuple[str, ...] = ()
    """Runtimes that the user left out by name: their cases in a baseline are not missed."""
    patterns: tuple[str, ...] = ()
    """Names of the cases that the user asked for, as a shell's patterns: others in a baseline are not missed then."""
    all_cases: bool = False
    """Whether slow cases were asked for too."""
    date: str = ""
    """Day of the run, ISO 8601, UTC."""
