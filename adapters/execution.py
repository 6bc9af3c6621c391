"""Executing a whole course of steps in one particular way, with proof that it really was that way.

A path of `Adapter.build` says how one step is executed. An execution goes further: a CUDA graph that is replayed, a
`lax.scan` over all steps, a gradient scaler, master weights. What asks for "fused" and silently runs unfused
computes the same numbers, so numbers cannot show it: every execution observes what was really called, and where.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, cast

from .arrays import host_copies
from .errors import TargetError
from .frameworks import FRAMEWORKS, import_beside, missing_imports
from .protocol import Array, Gradients, Target, Trajectory

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


class OfOptimizer:
    """What every `Executed` tells of the `optimizer` that it steps: what that holds, and its parameters and state."""

    def __init__(self, optimizer: Trajectory) -> None:
        self.held, self.casts = optimizer.held, optimizer.casts
        self.missing_gradient = optimizer.missing_gradient
        self.computes_in, self.scalars_in = optimizer.computes_in, optimizer.scalars_in
        self._reads = optimizer

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Return copies of the parameters that the optimizer steps, all or those named."""
        return self._reads.read_parameters(names)

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return copies of the state: slot -> parameter name -> array."""
        return self._reads.read_state()


_Optimizer_co = TypeVar("_Optimizer_co", covariant=True)


class _Builds(Protocol[_Optimizer_co]):
    """What of an adapter builds optimizers of one sort."""

    def build(
        self,
        target: Target,
        hyperparameters: Mapping[str, Any],
        parameters: Mapping[str, Array],
        *,
        dtype: str,
        device: str,
        path: str | None,
    ) -> _Optimizer_co:
        """Construct `target`, as `Adapter.build` does."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What an execution is opened with."""

    target: Target
    hyperparameters: Mapping[str, Any]
    parameters: Mapping[str, Array]
    feeds: Sequence[Feed]
    """What the steps to come are given, in that order."""
    dtype: str
    """Precision in which parameters and gradients are handed over."""
    device: str

    def built_by(self, adapter: _Builds[_Optimizer_co], path: str | None = None) -> _Optimizer_co:
        """Return the optimizer that `adapter` makes of it, on one of its paths. Raises what `Adapter.build` raises."""
        return adapter.build(
            self.target, self.hyperparameters, self.parameters, dtype=self.dtype, device=self.device, path=path
        )

    def rounded(self) -> Opening:
        """Return it with the parameters in the precision in which they are handed over."""
        return replace(self, parameters=host_copies(self.parameters, self.dtype))


class Open(Protocol):
    """What begins an execution."""

    def __call__(self, opening: Opening) -> Executed:
        """Construct the target over copies of the parameters, ready for the first of the feeds.

        The caller then calls `step` with each of them, in order. Raises what `Adapter.build` raises, `NotSupported`
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


class Present(Protocol):
    """What is there: the part of `Adapter` and `Runtime` that both tell."""

    def versions(self) -> dict[str, str]:
        """Package name -> version of all that computes."""

    def devices(self) -> tuple[str, ...]:
        """Devices present: `cpu`, `gpu:0`, ..."""


class Runtime(Present, Protocol):
    """One framework as one process runs it: its executions, its devices, and what is recorded about both."""

    executions: Mapping[str, Execution]
    """By name; the first is the plain one, which every target takes."""

    def describe(self, device: str) -> dict[str, str]:
        """What is known of a device: `name`, and for a GPU `driver`, `capability` and `memory` where they are told."""

    def flags(self) -> dict[str, str]:
        """Settings that change bits: determinism, TF32, matrix precision, XLA's flags, as they are now."""


class OfAdapter:
    """What a `Runtime` tells as the `adapter` of its framework does, and its executions by name."""

    def __init__(self, adapter: Present, rows: Iterable[Execution]) -> None:
        self.executions: Mapping[str, Execution] = {row.name: row for row in rows}
        self._adapter = adapter

    def versions(self) -> dict[str, str]:
        """Return the versions of all that computes."""
        return self._adapter.versions()

    def devices(self) -> tuple[str, ...]:
        """Return the devices present: `cpu`, `gpu:0`, ..."""
        return self._adapter.devices()


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
    installed_by: str = ""
    """What pip is given to install it, where that is not the framework's extra alone."""

    @property
    def install_command(self) -> str:
        """The command that installs all that it imports."""
        return f"pip install {self.installed_by}" if self.installed_by else FRAMEWORKS[self.framework].install_command


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
            "'optconform[jax]' keras",
        ),
        RuntimeRow(
            "keras-torch",
            "tensorflow",
            "keras_backends",
            "KerasTorchRuntime",
            "torch",
            ("keras", "torch"),
            {"KERAS_BACKEND": "torch"},
            "'optconform[torch]' keras",
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
    return not missing_imports(row)


def plain_execution(runtime: Runtime) -> Execution:
    """Return the execution that every target takes: the first."""
    return next(iter(runtime.executions.values()))


def load_runtime(name: str) -> Runtime:
    """Import what a runtime needs and return it; its environment must be set before, as `environment_of` says.

    Raises `TargetError` for an unknown name, `MissingFramework` as `import_beside` does.
    """
    row = runtime_named(name)
    return cast("Runtime", getattr(import_beside(row.module, row), row.make)())


def environment_of(row: RuntimeRow) -> dict[str, str]:
    """Return the environment variables of a runtime's process, which must be there before its first import."""
    return {**FRAMEWORKS[row.framework].environment, **row.environment}
