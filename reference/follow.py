"""Follow an implementation step by step: the reference beside it, with the bound, block by block.

Step-major: theta of the implementation is needed after every step, so a step is finished before the next
begins, and inside a step the coordinates pass in blocks that stay in the cache. What is kept from one step to
the next is the state and its bound alone; memory does not grow with the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Arithmetic, Float64Array
from .comparison import Beside, Comparison, compare, merged
from .replay import BLOCK_SIZE, Engine, compiled_module
from .rules import Options, Rule, Tracked, track, tracked_step

if TYPE_CHECKING:
    from .compiled_follow import CompiledRule

Array = NDArray[Any]


COMPILED_BLOCK_SIZE = 2**17
"""Coordinates in one call of the compiled engine, which has chunks of its own: a call costs some 10 microseconds."""


class Mode(StrEnum):
    """What the reference takes over from the implementation before every step."""

    THETA_RESYNC = "theta-resync"
    """Its parameters: nothing accumulates in theta; the moments run on from the trace."""
    FREE_RUN = "free-run"
    """Nothing: theta drifts over the whole trace. For decoupled rules; L2 feeds theta's error back into g."""
    FULL_RESYNC = "full-resync"
    """Its parameters and its moments: needed where 16-bit storage leaves a running bound nothing to say."""


@dataclass(frozen=True, slots=True)
class Followed:
    """One step of the reference beside the implementation's."""

    comparison: Comparison
    kept: Beside | None = None
    """theta_t and its bound at the coordinates that were asked for."""


class Follower:
    """One rule that runs beside one implementation, over a flat vector of parameters.

    `theta` is theta_0 as the implementation holds it, 1-D, in any dtype. Engine "numpy" calls the pure step
    functions and bounds; "compiled" runs one loop that agrees with them bit for bit; "auto" takes it where Numba
    is installed. Blocks are shared out over `threads`; nothing that is found depends on their number. An
    implementation that is met on its way has `state_before`, flat arrays by slot as in `step`, after `steps_before`
    updates: they are taken as exact, and a slot left out is zero. Raises `ValueError` for a free run of a rule whose
    decay is L2, and for fewer than one thread.
    """

    def __init__(
        self,
        rule: Rule,
        options: Options,
        theta: Array,
        arithmetic: Arithmetic,
        *,
        mode: Mode = Mode.THETA_RESYNC,
        engine: Engine = "numpy",
        block_size: int | None = None,
        threads: int = 1,
        state_before: Mapping[str, Array] | None = None,
        steps_before: int = 0,
    ) -> None:
        if mode is Mode.FREE_RUN and not rule.decoupled and options.weight_decay:
            raise ValueError(f"rule {rule.name!r} cannot run free: L2 feeds the error of theta back into the gradient")
        if threads < 1:
            raise ValueError(f"threads = {threads!r}, but it takes at least one")
        self.rule, self.options, self.arithmetic, self.mode = rule, options, arithmetic, mode
        self._compiled: CompiledRule | None = None
        if compiled_module(engine) is not None:
            from .compiled_follow import CompiledRule  # only here is Numba imported

            self._compiled = CompiledRule(options, arithmetic, exact_theta=mode is not Mode.FREE_RUN)
        size, width = len(theta), block_size or (COMPILED_BLOCK_SIZE if self._compiled else BLOCK_SIZE)
        self._blocks = [slice(start, min(start + width, size)) for start in range(0, size, width)]
        self._map: Callable[..., Any] = (
            ThreadPoolExecutor(threads).map if threads > 1 and len(self._blocks) > 1 else map
        )
        self._tracked = _begun(_with_own_arrays(track(np.zeros(size), options)), state_before or {}, steps_before)
        self._free = (np.array(theta, dtype=np.float64), np.zeros(size)) if mode is Mode.FREE_RUN else None

    def change(self, options: Options) -> None:
        """Take the steps to come with other hyperparameters; what the state consists of must stay the same."""
        self.options = options
        if self._compiled is not None:
            self._compiled = self._compiled.with_options(options)

    def step(
        self,
        before: Array,
        grad: Array,
        after: Array,
        schedule_multiplier: float = 1.0,
        *,
        state_after: Mapping[str, Array] | None = None,
        beside: Beside | None = None,
        keep: NDArray[np.intp] | None = None,
    ) -> Followed:
        """Take one step from `before` with `grad`, and compare what it reaches with `after`.

        All are flat arrays in any dtype, taken as exact. `state_after` is the implementation's state after the
        step by slot (`m`, `v`, `v_max`, `momentum`), needed in full resync: it is compared like theta and then
        taken over. With `beside` only elements count that tell the two rules apart. `keep` are the coordinates, in
        rising order, of which the result holds theta and bound.
        """
        advance = self._compiled.at(self._tracked.state, schedule_multiplier) if self._compiled else None
        if advance is None:
            advance = partial(advance_block, self.rule, self.options, schedule_multiplier, self.arithmetic)

        def follow(block: slice) -> tuple[Comparison, Reached | None]:
            tracked = self._tracked if len(self._blocks) == 1 else _block_of(self._tracked, block)
            theta, theta_error = (self._free[0][block], self._free[1][block]) if self._free else (before[block], 0.0)
            other = None if beside is None else Beside(beside.theta[block], beside.bound[block])
            chosen = None if keep is None else _within(keep, block)
            found, reached = advance(theta, theta_error, grad[block], after[block], tracked, other, chosen)
            if self.mode is Mode.FULL_RESYNC:
                found = self._resync(tracked, state_after or {}, block, found)
            return found, reached

        comparison, kept = Comparison(), []
        for block, (found, reached) in zip(self._blocks, self._map(follow, self._blocks), strict=True):
            comparison = merged(comparison, found, block.start)
            if reached is not None:
                kept.append(reached)
        self._tracked = _one_step_further(self._tracked)
        thetas, bounds = zip(*kept, strict=True) if kept else ((), ())
        return Followed(comparison, Beside(np.concatenate(thetas), np.concatenate(bounds)) if kept else None)

    def skip(self, before: Array, after: Array, *, counts_step: bool) -> Comparison:
        """Compare a step in which the parameters have no gradient and must not move; nothing is counted.

        `counts_step` says whether the step count moves all the same.
        """
        if counts_step:
            self._tracked = _one_step_further(self._tracked)
        theta, error = self._free or (_float64(before), 0.0)
        bound = np.broadcast_to(self.arithmetic.allowance * np.asarray(error), theta.shape)
        found = compare(theta, _float64(after), theta, bound)
        return replace(found, compared=0, undecidable=0)

    def _resync(
        self, tracked: Tracked, state_after: Mapping[str, Array], block: slice, comparison: Comparison
    ) -> Comparison:
        """Compare the moments of one block with the implementation's, then take those over."""
        for name, reference in _arrays(tracked.state).items():
            error = getattr(tracked.error, name)
            try:
                found = _float64(state_after[SLOTS.get(name, name)][block])
            except KeyError as missing:
                raise KeyError(
                    f"full resync needs the implementation's {missing.args[0]!r}, but its state has none"
                ) from None
            bound = self.arithmetic.allowance * error
            state = replace(compare(reference, found, reference, bound), compared=0, undecidable=0)
            comparison = merged(comparison, state, 0)
            reference[...], error[...] = found, 0.0
        return comparison


SLOTS: Mapping[str, str] = {"buffer": "momentum"}
"""Field of the reference's state -> the adapters' name of that slot, where they differ."""


Reached = tuple[Float64Array, Float64Array]
"""theta_t and its bound at some coordinates."""


def advance_block(
    rule: Rule,
    options: Options,
    schedule_multiplier: float,
    arithmetic: Arithmetic,
    theta: Array,
    theta_error: Float64Array | float,
    grad: Array,
    after: Array,
    tracked: Tracked,
    beside: Beside | None,
    keep: NDArray[np.intp] | None,
) -> tuple[Comparison, Reached | None]:
    """Take one step of one block and compare; return the comparison, and what is reached at `keep`.

    The arrays of `tracked` are brought up to date in place; so are `theta` and `theta_error` where that is an
    array: a free run.
    """
    start = _float64(theta)
    expected, bound, reached = tracked_step(
        rule, start, _float64(grad), tracked, options, schedule_multiplier, arithmetic, theta_error
    )
    for old, new in ((tracked.state, reached.state), (tracked.error, reached.error)):
        for name, array in _arrays(old).items():
            array[...] = getattr(new, name)
    allowed = arithmetic.allowance * bound
    comparison = compare(start, _float64(after), expected, allowed, beside)
    if isinstance(theta_error, np.ndarray):
        theta[...], theta_error[...] = expected, bound
    return comparison, None if keep is None else (expected[keep], allowed[keep])


def state_slots(options: Options) -> frozenset[str]:
    """Return the slots of state that full resync needs of an implementation of a rule with `options`."""
    return frozenset(SLOTS.get(name, name) for name in _arrays(track(np.zeros(1), options).state))


def _within(keep: NDArray[np.intp], block: slice) -> NDArray[np.intp]:
    """Return the coordinates of a rising `keep` that lie in `block`, counted from its start."""
    first, last = np.searchsorted(keep, (block.start, block.stop))
    within: NDArray[np.intp] = keep[first:last] - block.start
    return within


def _float64(values: Array) -> Float64Array:
    return np.ascontiguousarray(values, dtype=np.float64)


def _arrays(value: Any) -> dict[str, Float64Array]:
    """Return the array fields of a state, or of a bound on one, by name."""
    named = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: item for name, item in named.items() if isinstance(item, np.ndarray)}


def _with_own_arrays(tracked: Tracked) -> Tracked:
    """Return `tracked` with an array of its own in every field: the start shares one array of zeros."""
    return Tracked(
        *(replace(part, **{name: array.copy() for name, array in _arrays(part).items()}) for part in _parts(tracked))
    )


def _begun(tracked: Tracked, state: Mapping[str, Array], steps: int) -> Tracked:
    """Return `tracked`, its arrays filled from `state` by slot, as after `steps` steps; the bound on it is zero."""
    for name, array in _arrays(tracked.state).items():
        array[...] = state.get(SLOTS.get(name, name), 0.0)
    return Tracked(replace(tracked.state, step=steps), tracked.error)


def _block_of(tracked: Tracked, block: slice) -> Tracked:
    """Return views of one block."""
    return Tracked(
        *(replace(part, **{name: array[block] for name, array in _arrays(part).items()}) for part in _parts(tracked))
    )


def _parts(tracked: Tracked) -> tuple[Any, Any]:
    return tracked.state, tracked.error


def _one_step_further(tracked: Tracked) -> Tracked:
    return Tracked(replace(tracked.state, step=tracked.state.step + 1), tracked.error)
