"""The cases of the gate, as a table: a row is a target, and everything that it is run with."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .case import Case

_FAST: Mapping[str, Any] = {"lr": 0.05, "weight_decay": 0.5, "beta2": 0.99}
"""The probe's hyperparameters, at which every kind of decay shows in every precision."""
_PLAIN: Mapping[str, Any] = {"lr": 0.05, "weight_decay": 0.5}
_MOMENTUM: Mapping[str, Any] = {**_PLAIN, "momentum": 0.9}
_USUAL: Mapping[str, Any] = {"lr": 1e-3, "weight_decay": 1e-2}

_ADAMW = "decoupled,law=lr*wd,order=previous,epsilon=outside"
_ADAM_HAT = "decoupled,law=lr*wd,order=previous,epsilon=hat"
_ADAM_L2 = "l2,epsilon=outside"
_SGD_L2 = "l2,momentum=lr_outside"
_SGDW_INSIDE = "decoupled,law=lr*wd,order=previous,momentum=lr_inside"
_SGDW_OUTSIDE = "decoupled,law=lr*wd,order=previous,momentum=lr_outside"

_LARGE = "generated:100000000"
"""1e8 elements, 10 steps: see `large_case`."""
_REAL, _WIDE = "digits_mlp", "synthetic:wide_range"
_CHANGING = "synthetic:schedule_jump"
"""A learning rate that changes shows where momentum has it."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One target of one runtime, with every combination of what it is run with."""

    runtime: str
    spec: str
    expected: str
    options: Mapping[str, Any]
    executions: tuple[str, ...]
    dtypes: tuple[str, ...] = ("float32",)
    traces: tuple[str, ...] = (_REAL,)
    setting: str = "probe"
    slow: tuple[str, ...] = field(default=())
    """Executions besides, for when every case is asked for: they compile for many seconds."""

    def cases(self) -> tuple[Case, ...]:
        """Return the combinations."""
        every = itertools.product((*self.executions, *self.slow), self.dtypes, self.traces)
        return tuple(
            Case(
                self.runtime,
                self.spec,
                execution,
                dtype,
                trace,
                self.expected,
                self.setting,
                self.options,
                slow=execution in self.slow,
            )
            for execution, dtype, trace in every
        )


_TORCH = ("loop", "foreach", "fused")
_SIXTEEN = ("bfloat16", "float16")

SWEEPS = (
    Sweep("numpy", "optconform.adapters.numpy_optimizers:AdamW", _ADAMW, _FAST, ("default",), ("float64", "float32")),
    Sweep(
        "numpy",
        "optconform.adapters.numpy_optimizers:SGDW",
        _SGDW_OUTSIDE,
        _MOMENTUM,
        ("default",),
        traces=(_CHANGING,),
    ),
    Sweep("torch", "torch.optim:AdamW", _ADAMW, _FAST, _TORCH, ("float64", "float32", "bfloat16"), slow=("compiled",)),
    Sweep("torch", "torch.optim:AdamW", _ADAMW, _FAST, _TORCH, traces=(_WIDE,)),
    Sweep("torch", "torch.optim:AdamW", _ADAMW, _USUAL, _TORCH, setting="usual"),
    Sweep("torch", "torch.optim:AdamW", _ADAMW, _FAST, ("tensor-lr", "grad-scaler", "grad-scaler-fused")),
    Sweep("torch", "torch.optim:AdamW", _ADAMW, _FAST, ("capturable", "cuda-graph")),
    Sweep("torch", "torch.optim:AdamW", _ADAMW, _FAST, ("master-weights",), _SIXTEEN),
    Sweep("torch", "torch.optim:AdamW", _ADAMW, _USUAL, (), traces=(_LARGE,), setting="usual", slow=("large",)),
    Sweep("torch", "torch.optim:Adam", _ADAM_L2, _FAST, _TORCH),
    Sweep("torch", "torch.optim:SGD", _SGD_L2, _MOMENTUM, _TORCH, traces=(_CHANGING,)),
    Sweep("tensorflow", "keras.optimizers:AdamW", _ADAM_HAT, _FAST, ("eager", "function", "compiled")),
    Sweep("tensorflow", "keras.optimizers:AdamW", _ADAM_HAT, _FAST, ("function",), ("float64",)),
    Sweep("tensorflow", "keras.optimizers:AdamW", _ADAM_HAT, _FAST, ("function",), traces=(_WIDE,)),
    Sweep("tensorflow", "keras.optimizers:AdamW", _ADAM_HAT, _FAST, ("loss-scale",)),
    Sweep("tensorflow", "keras.optimizers:AdamW", _ADAM_HAT, _FAST, ("master-weights",), _SIXTEEN),
    Sweep(
        "tensorflow",
        "keras.optimizers:SGD",
        _SGDW_INSIDE,
        _MOMENTUM,
        ("eager", "function", "compiled"),
        traces=(_CHANGING,),
    ),
    Sweep("jax", "optax:adamw", _ADAMW, _FAST, ("eager", "jit", "donated", "scan"), ("float32", "bfloat16")),
    Sweep("jax", "optax:adamw", _ADAMW, _FAST, ("jit", "scan"), traces=(_WIDE,)),
    Sweep("jax", "optax:adamw", _ADAMW, _USUAL, ("jit",), setting="usual"),
    Sweep("jax", "optax:adamw", _ADAMW, _USUAL, (), traces=(_LARGE,), setting="usual", slow=("large",)),
    Sweep("jax", "optax:adamw", _ADAMW, _FAST, ("x64",), ("float64",)),
    Sweep("jax", "optax:adamw", _ADAMW, _FAST, ("apply-if-finite",)),
    Sweep("jax", "optax:adamw", _ADAMW, _FAST, ("master-weights",), _SIXTEEN),
    Sweep("jax", "optconform.adapters.optax_chains:adam_l2", _ADAM_L2, _FAST, ("eager", "jit")),
    Sweep(
        "jax", "optconform.adapters.optax_chains:sgdw", _SGDW_OUTSIDE, _MOMENTUM, ("eager", "jit"), traces=(_CHANGING,)
    ),
    Sweep("keras-jax", "keras.optimizers:AdamW", _ADAM_HAT, _FAST, ("eager", "stateless")),
    Sweep("keras-jax", "keras.optimizers:SGD", _SGDW_INSIDE, _MOMENTUM, ("eager", "stateless"), traces=(_CHANGING,)),
    Sweep("keras-torch", "keras.optimizers:AdamW", _ADAM_HAT, _FAST, ("eager",)),
    Sweep("keras-torch", "keras.optimizers:SGD", _SGDW_INSIDE, _MOMENTUM, ("eager",), traces=(_CHANGING,)),
)
"""Every row is run. What a device does not have, such as CUDA graphs on a CPU, is left out there: see `GPU_ONLY`."""

GPU_ONLY: Mapping[str, frozenset[str]] = {
    "torch": frozenset({"capturable", "cuda-graph", "large"}),
    "jax": frozenset({"large"}),
}
"""Runtime -> executions that are not asked for on a CPU."""


CPU_ONLY = frozenset({"numpy"})
"""Runtimes that know no other device."""


def declared_cases(device: str) -> tuple[Case, ...]:
    """Return the cases of the gate on `device`, slow ones too, in the order in which they are run."""
    every = itertools.chain.from_iterable(sweep.cases() for sweep in SWEEPS)
    if device == "cpu":
        return tuple(case for case in every if case.execution not in GPU_ONLY.get(case.runtime, ()))
    return tuple(case for case in every if case.runtime not in CPU_ONLY)
