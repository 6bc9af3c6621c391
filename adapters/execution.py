"""Executing a whole course of steps in one particular way, with proof that it really was that way.

A path of `Adapter.build` says how one step is executed. An execution goes further: a CUDA graph that is replayed, a
`lax.scan` over all steps, a gradient scaler, master weights. What asks for "fused" and silently runs unfused
computes the same numbers, so numbers cannot show it: every execution observes what was really called, and where.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from .errors import MissingFramework, TargetError
from .frameworks import framework_named, is_findable, not_installed
from .protocol import Array, Gradients, Target, Trajectory
from .text import describe_error

MASTER_DTYPES: Mapping[str, str] = {"bfloat16": "float32", "float16": "float32"}
"""dtype of a model and its gradients -> that of the master weights which an optimizer steps in its place."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What one step is given: gradients as for `Trajectory.step`, and the learning rate eta_t * alpha."""

    gradients: Gradients
    lr: float


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that steps really were executed in one way and in one place."""

    on_path: bool
    """Whether every step so far was executed as asked."""
    on_device: bool
    """Whether parameters and state lived where they were asked to, before and after."""
    observed: str
    """One sentence: what was seen, whether it speaks for or against it."""


class Executed(Trajectory, Protocol):
    """An optimizer on its way through the steps it was opened with, in that order."""

    def proof(self) -> Proof:
        """Return what the steps so far have shown; of a way that goes unproved before the first, that it is not."""


class Open(Protocol):
    """What begins an execution."""

    def __call__(
        self,
        target: Target,
        hyperparameters: Mapping[str, Any],
        parameters: Mapping[str, Array],
        feeds: Sequence[Feed],
        *,
        dtype: str,
        device: str,
    ) -> Executed:
        """Construct `target` over copies of `parameters` in `dtype` on `device`, ready for the first of `feeds`.

        The caller then calls `step` with each of `feeds`, in order. Raises what `Adapter.build` raises, `NotSupported`
        (`PathNotTaken` among it) where the target, the device or this version of the framework has no such way.
        """


@dataclass(frozen=True, slots=True)
class Execution:
    """One way of executing a course of steps."""

    name: str
    open: Open
    devices: tuple[str, ...] = ("cpu", "gpu")
    """Kinds of device on which it exists."""
    slow: bool = False
    """Whether the first step takes many seconds, as one compiled by a C++ or Triton compiler does."""
    steps_in: Mapping[str, str] = field(default_factory=dict)
    """dtype of the gradients -> dtype of the parameters that the optimizer steps, where that is another one."""


class Runtime(Protocol):
    """One framework as one process runs it: its executions, its devices, and what is recorded about both."""

    executions: Mapping[str, Execution]
    """By name; the first is the plain one, which every target takes."""

    def versions(self) -> dict[str, str]:
        """Package name -> version of all that computes."""

    def devices(self) -> tuple[str, ...]:
        """Devices present: `cpu`, `gpu:0`, ..."""

    def describe(self, device: str) -> dict[str, str]:
        """What is known of a device: `name`, and for a GPU `driver`, `capability` and `memory` where they are told."""

    def flags(self) -> dict[str, str]:
        """Settings that change bits: determinism, TF32, matrix precision, XLA's flags, as they are now."""


@dataclass(frozen=True, slots=True)
class RuntimeRow:
    """A runtime, as data: nothing is imported before `load_runtime` is called."""

    name: str
    framework: str
    """Whose optimizers it runs: a key of `FRAMEWORKS`."""
    module: str
    """Module beside this one that holds it."""
    make: str
    """Its class there."""
    computes: str
    """Framework by whose row of the platform table it is judged."""
    imports: tuple[str, ...]
    """Top-level modules that must all be there."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment of its process, beyond that of the framework."""


RUNTIMES: Mapping[str, RuntimeRow] = {
    row.name: row
    for row in (
        RuntimeRow("numpy", "numpy", "numpy_execution", "NumPyRuntime", "numpy", ("numpy",)),
        RuntimeRow("torch", "torch", "torch_execution", "TorchRuntime", "torch", ("torch",)),
        RuntimeRow(
            "tensorflow", "tensorflow", "keras_execution", "KerasRuntime", "tensorflow", ("tensorflow", "keras")
        ),
        RuntimeRow("jax", "jax", "optax_execution", "OptaxRuntime", "jax", ("jax", "optax")),
        # Each backend of Keras applies the decay with code of its own.
        RuntimeRow(
            "keras-jax",
            "tensorflow",
            "keras_backends",
            "KerasJaxRuntime",
            "jax",
            ("keras", "jax"),
            {"KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        ),
        RuntimeRow(
            "keras-torch",
            "tensorflow",
            "keras_backends",
            "KerasTorchRuntime",
            "torch",
            ("keras", "torch"),
            {"KERAS_BACKEND": "torch"},
        ),
    )
}
"""By name. Two of them never share a process: Keras has one backend in a process, and a GPU's memory one owner."""


def runtime_named(name: str) -> RuntimeRow:
    """Return the row for `name`. Raises `TargetError` with those there are."""
    if name not in RUNTIMES:
        raise TargetError(f"unknown runtime {name!r}; expected one of {', '.join(RUNTIMES)}.")
    return RUNTIMES[name]


def runtime_present(row: RuntimeRow) -> bool:
    """Return whether all that a runtime imports can be found. Imports nothing."""
    return all(is_findable(name) for name in row.imports)


def load_runtime(name: str) -> Runtime:
    """Import what a runtime needs and return it; its environment must be set before, as `environment_of` says.

    Raises `TargetError` for an unknown name, `MissingFramework` with the install command where something is absent.
    """
    row = runtime_named(name)
    framework = framework_named(row.framework)
    absent = [each for each in row.imports if not is_findable(each)]
    if absent:
        raise not_installed(framework, f"no module named {' or '.join(absent)}")
    try:
        module = importlib.import_module(f".{row.module}", __package__)
    except MissingFramework:
        raise
    except Exception as error:
        raise not_installed(framework, f"importing it raised {describe_error(error)}") from error
    return cast("Runtime", getattr(module, row.make)())


def environment_of(row: RuntimeRow) -> dict[str, str]:
    """Return the environment variables of a runtime's process, which must be there before its first import."""
    return {**framework_named(row.framework).environment, **row.environment}
