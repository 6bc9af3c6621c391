"""Replay a whole trace through a rule, block by block.

A recorded gradient does not depend on the parameters and the rules act element by element, so each
block of coordinates can run through all steps before the next is touched: its parameters and state
stay in the processor's cache, and memory does not grow with the number of steps.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .adam import adam_init
from .decay import Float64Array
from .options import AdamOptions
from .rules import Options, Rule
from .sgd import sgd_init

ReadBlock = Callable[[int, int, int], NDArray[np.floating[Any]]]
"""(step counted from 1, start, stop) -> the gradient's flat coordinates start..stop in that step."""

Engine = Literal["auto", "numpy", "compiled"]

BLOCK_SIZE = 16_384
"""Coordinates replayed together: with their state and temporaries about 1 MB, the size of a second-level cache."""


def replay(
    rule: Rule,
    theta: ArrayLike,
    read_block: ReadBlock,
    options: Options,
    multipliers: Sequence[float],
    *,
    engine: Engine = "auto",
    block_size: int = BLOCK_SIZE,
) -> Float64Array:
    """Return the parameters after `len(multipliers)` steps of `rule` from `theta`.

    `multipliers[t - 1]` is eta_t. The result is float64 in the shape of `theta`, which is left as it is.
    Both engines evaluate the same operations in the same order and agree bit for bit: "numpy" calls the
    rule's pure step function; "compiled" fuses a step into one loop and needs the extra `fast` (Numba);
    "auto" takes "compiled" where Numba is installed.

    Raises `ModuleNotFoundError` for engine "compiled" without Numba, `TypeError` if `options` is not of
    the type the rule takes, `ValueError` for a block of gradients of another shape than was asked for (the
    compiled loops check no bounds), for an unknown engine and for blocks of no coordinates.
    """
    if block_size < 1:
        raise ValueError(f"block_size = {block_size!r}, but a block must hold at least one coordinate")
    if type(options) is not rule.options:
        raise TypeError(f"rule {rule.name!r} takes {rule.options.__name__}, but got {type(options).__name__}")
    start_theta = np.asarray(theta, dtype=np.float64)
    result = start_theta.flatten()
    replay_block = _select(engine)
    for start in range(0, result.size, block_size):
        stop = min(start + block_size, result.size)
        replay_block(rule, result[start:stop], _checked(read_block, start, stop), options, multipliers)
    return result.reshape(start_theta.shape)


def _checked(read_block: ReadBlock, start: int, stop: int) -> Callable[[int], NDArray[Any]]:
    """Return the reader of one block, which refuses a gradient of the wrong shape."""

    def read(step: int) -> NDArray[Any]:
        grad = np.asarray(read_block(step, start, stop))
        if grad.shape != (stop - start,):
            raise ValueError(
                f"read_block({step}, {start}, {stop}) returned shape {grad.shape}, but the block has shape "
                f"{(stop - start,)}; return the flat coordinates start..stop of step {step}'s gradient"
            )
        return grad

    return read


_ReplayBlock = Callable[[Rule, Float64Array, Callable[[int], NDArray[Any]], Options, Sequence[float]], None]


def _select(engine: Engine) -> _ReplayBlock:
    """Return the function that replays one block in place."""
    compiled = compiled_module(engine)
    return compiled.replay_block if compiled else _replay_block


def compiled_module(engine: Engine) -> Any:
    """Return the module of the compiled engine; None where `engine` asks for NumPy, or Numba is not installed.

    Raises `ModuleNotFoundError` for "compiled" without Numba, `ValueError` for an unknown engine.
    """
    if engine not in get_args(Engine):
        raise ValueError(f"engine = {engine!r}, but it must be one of {', '.join(map(repr, get_args(Engine)))}")
    if engine == "numpy" or (engine == "auto" and importlib.util.find_spec("numba") is None):
        return None
    try:
        return importlib.import_module(".compiled", __package__)
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        raise ModuleNotFoundError(
            "engine 'compiled' needs Numba, which is not installed: pip install 'optconform[fast]', "
            "or pass engine='numpy'",
            name="numba",
        ) from error


def _replay_block(
    rule: Rule,
    theta: Float64Array,
    read: Callable[[int], NDArray[Any]],
    options: Options,
    multipliers: Sequence[float],
) -> None:
    """Replay one block through all steps with the pure step function, and write the result into `theta`."""
    state: Any = adam_init(theta, options) if isinstance(options, AdamOptions) else sgd_init(theta)
    moved = theta
    for step, multiplier in enumerate(multipliers, start=1):
        moved, state = rule.step(moved, np.asarray(read(step), dtype=np.float64), state, options, multiplier)
    theta[...] = moved
