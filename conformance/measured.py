"""What the gate measured of one case beyond the verdict, and where: what its documents hold and reports show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Place:
    """The hardware that a run took place on; empty for a run of no gate."""

    device: str = ""
    """`cpu`, or `gpu:0` and the like."""
    device_class: str = ""
    """What baselines are made for: `cpu`, or the name of the GPU. Figures of two classes are not compared."""
    name: str = ""
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
    """One case that ran: the figures that a baseline holds; empty for one that did not, and in a run of no gate."""

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
