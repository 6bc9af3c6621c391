"""Samples of what decay alone did, for pictures: of a few tensors of a trace, some elements in one early step each.

*Step*: of the first four with a gradient the last that is no decoupled decay or, where all fit that, the one in which
decay moves the most elements by more than rounding explains, the earliest of several; later ones where those four show
nothing. In the very first, L2 in SGD with momentum is a line still, and L2 in Adam moves hardly anything.
*Elements*: evenly over the ranks of |theta|, so that a line shows from its middle to both ends; in a large tensor over
the ranks among 4,096 elements that lie evenly in it.
*Tensors*: the one furthest from decoupled decay, where there is one that does not fit it; the largest of two dimensions
and more; the largest of fewer; the largest of every verdict that these do not show. Those that the trace does not
exercise or that are excluded from decay are left out, unless there are no others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .evidence import StepEvidence
from .fits import Fit
from .identify import KindOfDecay
from .series import MOST_ELEMENTS, Displacement, evenly, shown
from .subject import Float64Array
from .targets import DECOUPLED_TARGETS, Moved
from .traces import Parameter

EARLY_STEPS = 4
ELEMENTS = 64
"""Most elements of one tensor."""
_RANKED = 4096
"""To rank a million in every step would take a tenth of the time that they are judged in."""
TENSORS = 4
"""Most tensors of one trace."""
DISPLACEMENTS = 8
"""Most displacements of one result."""
_UPDATED = "updated"


@dataclass(slots=True)
class EarlyStep:
    """The early step of one tensor in which decay shows best, found as the paired steps pass; a sample is kept."""

    step: int = 0
    theta: Float64Array = field(default_factory=lambda: np.empty(0))
    free: Float64Array = field(default_factory=lambda: np.empty(0))
    displacement: Float64Array = field(default_factory=lambda: np.empty(0))
    fits: Mapping[str, Fit] = field(default_factory=dict)
    _shows: tuple[bool, int] = (False, -1)
    """Whether the step is no decoupled decay; its place among the steps where it is none, else elements displaced."""
    _looked_at: int = 0

    def add(self, step: int, evidence: StepEvidence, moved: Moved) -> None:
        """Look at the step with the number `step`."""
        if not evidence.has_gradient or (self._looked_at >= EARLY_STEPS and self._shows[1] > 0):
            return
        self._looked_at += 1
        other = min(map(evidence.ratio, DECOUPLED_TARGETS)) > 1.0
        shows = (other, self._looked_at if other else evidence.displaced)
        if shows <= self._shows:
            return
        self.step, self.fits, self._shows = step, evidence.fits, shows
        few = np.array(evenly(range(moved.theta.size), _RANKED))
        order = few[np.argsort(np.abs(moved.theta.reshape(-1)[few]), kind="stable")]
        chosen = order[list(evenly(range(order.size), ELEMENTS))]
        arrays = (each.reshape(-1)[chosen] for each in (moved.theta, moved.free, moved.displacement))
        self.theta, self.free, self.displacement = arrays

    def displacement_of(self, trace: str, parameter: str, kind: KindOfDecay) -> Displacement:
        """Return the sample, against what the decay found acts on."""
        updated = kind.target == _UPDATED
        theta = self.theta + self.free if updated else self.theta
        fit = self.fits.get(kind.target or "previous")
        multiple = (kind.target is not None or kind.grows) and fit is not None and fit.ratio <= 1.0 and fit.measurable
        return Displacement(
            trace,
            parameter,
            self.step,
            tuple(map(shown, theta.tolist())),
            tuple(map(shown, self.displacement.tolist())),
            shown(fit.coefficient) if fit is not None and multiple else None,
            _UPDATED if updated else "previous",
        )


def displacements_of(
    trace: str, parameters: Iterable[Parameter], kinds: Mapping[str, KindOfDecay], early: Mapping[str, EarlyStep]
) -> tuple[Displacement, ...]:
    """Return the samples of the tensors of one trace that are shown, the most telling first."""
    judged = [each for each in parameters if early[each.name].step]
    telling = [each for each in judged if kinds[each.name].exercised and not kinds[each.name].excluded]
    return tuple(
        early[name].displacement_of(trace, name, kinds[name]) for name in _chosen(telling or judged, kinds)[:TENSORS]
    )


def _chosen(parameters: Sequence[Parameter], kinds: Mapping[str, KindOfDecay]) -> list[str]:
    """Return the names of the tensors that are shown, each once."""
    by_size = sorted(parameters, key=lambda each: -each.size)  # stable: the first of several
    far = [each for each in parameters if (kinds[each.name].decoupling_ratio or 0.0) > 1.0]
    furthest = sorted(far, key=lambda each: -(kinds[each.name].decoupling_ratio or 0.0))
    matrices = [each for each in by_size if len(each.shape) >= 2]
    vectors = [each for each in by_size if len(each.shape) < 2]
    chosen = [*furthest[:1], *matrices[:1], *vectors[:1]]
    seen = {kinds[each.name].verdict for each in chosen}
    for each in by_size:
        if kinds[each.name].verdict not in seen:
            seen.add(kinds[each.name].verdict)
            chosen.append(each)
    return list(dict.fromkeys(each.name for each in chosen))


def shared_out(by_trace: Iterable[Sequence[Displacement]]) -> tuple[Displacement, ...]:
    """Return the displacements of one result: the first of every trace, then every second one, as many as there may be.

    All together have at most `series.MOST_ELEMENTS` elements.
    """
    ranked = itertools.chain.from_iterable(itertools.zip_longest(*by_trace))
    kept = [each for each in ranked if each is not None][:DISPLACEMENTS]
    most = min(ELEMENTS, MOST_ELEMENTS // max(1, len(kept)))
    return tuple(replace(each, theta=evenly(each.theta, most), moved=evenly(each.moved, most)) for each in kept)
