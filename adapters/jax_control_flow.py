"""Loops and branches of a JAX function, which make an op-by-op step slow.

`lax.while_loop`, `scan` and `cond` compile their bodies outside of `jit` as well, and anew in every call where the
body is a function made in that call, as lambdas are: a walk of 6 steps of optax.contrib.muon took 5.1 s of CPU time.
Under `jax.disable_jit()` they run in Python, and it took .15 s; a rule without any runs twice as fast without that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from . import random_generators

_PRIMITIVES = frozenset({"cond", "scan", "while"})


def has_control_flow(function: Callable[..., Any], *arguments: Any) -> bool:
    """Return whether `function` loops or branches on these arguments, outside of functions that it has under `jit`.

    It is called once, to be traced, which takes some 50 ms; what it draws from global random generators is put back.
    What cannot be traced, since it branches in Python on values, has none.
    """
    before = random_generators.states()
    try:
        traced = jax.make_jaxpr(function)(*arguments)
    except Exception:  # whatever it raises, it will raise again where it is stepped
        return False
    finally:
        random_generators.put_back(before)
    return any(equation.primitive.name in _PRIMITIVES for equation in traced.jaxpr.eqns)
