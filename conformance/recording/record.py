"""`optconform.record`: whose optimizer is this, and which recorder belongs to it. Imports no framework by itself."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ..._version import __version__
from ...adapters.text import escape_control
from .arrays import ArrayRecording
from .options import RecordingOptions
from .recording import Recording


@dataclass(frozen=True, slots=True)
class Request:
    """What `record` was asked for: the arguments, the options checked."""

    target: Any
    path: str | os.PathLike[str]
    options: RecordingOptions
    model: Any = None
    names: Any = None
    optimizer: str | None = None
    provenance: Mapping[str, Any] | None = None
    learning_rate: Any = None
    hyperparameters: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        """What the trace calls the optimizer: as the user does, else `module:qualified name` of its class."""
        kind = type(self.target)
        return self.optimizer or f"{kind.__module__}:{kind.__qualname__}"

    def open(self, framework: str, versions: Mapping[str, str], *, lr_base: float | None = None) -> Recording:
        """Begin the recording, `versions` (name -> version) and the date in its provenance."""
        automatic = {
            "source": "recorded training",
            "framework": framework,
            "optimizer": self.title,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"optconform": __version__, "numpy": np.__version__, **versions},
        }
        return Recording(
            self.path,
            self.options,
            framework=framework,
            optimizer=self.title,
            lr_base=lr_base,
            provenance={**automatic, **(self.provenance or {})},
        )

    def refuse(self, *unused: str) -> None:
        """Raise `TypeError` where one of the arguments `unused` was given, which the target has no use for."""
        for name in unused:
            if getattr(self, name) is not None:
                raise TypeError(f"{name}= has no meaning for a {type(self.target).__qualname__}: leave it out")


@dataclass(frozen=True, slots=True)
class Recorder:
    """One kind of object that can be recorded."""

    accepts: str
    """What it is, for messages."""
    recognises: Callable[[Any], bool]
    """Whether an object is one, told without importing its framework."""
    start: Callable[[Request], Any]
    """Begin recording it; what it returns, `record` returns."""


def record(
    target: Any,
    path: str | os.PathLike[str],
    *,
    model: Any = None,
    names: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None,
    optimizer: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    learning_rate: Any = None,
    hyperparameters: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Record the training that `target` does to the trace `path`, from its next step on, without changing it.

    `target` is a `torch.optim.Optimizer`, a Keras optimizer, an Optax gradient transformation, or a mapping of names
    to NumPy arrays, the parameters of a loop of one's own. Of an optimizer every step is taken by itself, as in
    `with optconform.record(optimizer, "run.trace"): train()`; without `with`, what is returned has a `close()`, and
    the end of the interpreter closes it too. The loop hands its steps to `ArrayRecording.step`.

    `model` (a `torch.nn.Module`) or `names` (name -> parameter, or such pairs) say what the parameters are called;
    else they bear the names that the optimizer knows, or `GROUP.INDEX`, their place in it. `optimizer` is what the
    trace calls it, by default its class. `provenance` is put into the trace as it is, beside versions and date.
    An Optax gradient transformation is not changed, but wrapped: train with the one that is returned, a
    `RecordedTransformation`, in its place, and close that. Since it shows none of its hyperparameters, `learning_rate`
    (the number or the schedule it was made with), `hyperparameters` and `optimizer`, as "optax:adamw", tell them; what
    is not told then has that function's default.
    `options` are those of `RecordingOptions`: `sample`, `seed`, `steps`, `every`, `snapshots`, `overwrite`.

    Raises `TypeError` for a target, an option or a provenance that cannot be recorded, `ValueError` for a value of an
    option out of range, and `TraceError` where no trace can be written as `path`. From then on nothing is raised into
    the training: a recording that cannot go on ends with one `RecordingWarning`.

    >>> import tempfile, numpy as np
    >>> w = np.ones(3)
    >>> with tempfile.TemporaryDirectory() as folder, record({"w": w}, f"{folder}/run.trace") as recording:
    ...     for _ in range(2):
    ...         recording.step({"w": w}, lr=0.1)
    >>> recording.n_steps
    2
    """
    try:
        json.dumps(dict(provenance or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"provenance={provenance!r}, but should be a mapping that JSON can hold ({error})") from error
    if optimizer is not None and not isinstance(optimizer, str):
        raise TypeError(f"optimizer={optimizer!r:.80}, but should be text, as 'torch.optim:AdamW'")
    request = Request(
        target, path, RecordingOptions.of(options), model, names, optimizer, provenance, learning_rate, hyperparameters
    )
    for recorder in RECORDERS:
        if recorder.recognises(target):
            return recorder.start(request)
    kind = type(target)
    shown = escape_control(f"{kind.__module__}.{kind.__qualname__}")
    raise TypeError(f"cannot record a {shown}; expected {', or '.join(each.accepts for each in RECORDERS)}")


def is_instance_of(target: Any, *classes: str) -> bool:
    """Whether one of `classes`, as `module.qualified name`, is among those that `target` is an instance of."""
    return any(f"{kind.__module__}.{kind.__qualname__}" in classes for kind in type(target).__mro__)


def _is_torch(target: Any) -> bool:
    return is_instance_of(target, "torch.optim.optimizer.Optimizer")


def _record_torch(request: Request) -> Recording:
    from ...adapters.torch_recording import TorchRecorder

    request.refuse("learning_rate", "hyperparameters")
    recorder = TorchRecorder(request.target, model=request.model, names=request.names)
    recording = request.open("torch", recorder.versions, lr_base=recorder.lr_base)
    recording.on_close.append(recorder.attach(recording))
    return recording


def _is_keras(target: Any) -> bool:
    return is_instance_of(target, "keras.src.optimizers.base_optimizer.BaseOptimizer")


def _record_keras(request: Request) -> Recording:
    from ...adapters.keras_recording import KerasRecorder

    request.refuse("model", "names", "learning_rate", "hyperparameters")
    return start_keras(request, KerasRecorder(request.target))


def start_keras(request: Request, recorder: Any) -> Recording:
    """Attach `recorder`, a `KerasRecorder`, to a recording."""
    told = {**recorder.provenance, **(request.provenance or {})}
    request = replace(request, optimizer=request.optimizer or recorder.title, provenance=told)
    recording = request.open("tensorflow", recorder.versions, lr_base=recorder.lr_base)
    recording.on_close.append(recorder.attach(recording))
    return recording


def _is_optax(target: Any) -> bool:
    made = not isinstance(target, type) and all(callable(getattr(target, name, None)) for name in ("init", "update"))
    return made and "optax" in sys.modules


def _record_optax(request: Request) -> Any:
    from ...adapters.optax_recording import OptaxRecorder

    request.refuse("model", "names")
    recorder = OptaxRecorder(
        request.target,
        learning_rate=request.learning_rate,
        hyperparameters=request.hyperparameters,
        optimizer=request.optimizer,
    )
    request = replace(request, optimizer=request.optimizer or recorder.title)
    recording = request.open("jax", recorder.versions, lr_base=recorder.lr_base)
    recording.on_close.append(recorder.end)
    return recorder.transformation(recording, recording)


def _is_arrays(target: Any) -> bool:
    return isinstance(target, Mapping) and bool(target) and all(map(_is_array, target.values()))


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _record_arrays(request: Request) -> ArrayRecording:
    request.refuse("model", "names", "learning_rate", "hyperparameters")
    return ArrayRecording(request.target, lambda: request.open("numpy", {}))


RECORDERS: tuple[Recorder, ...] = (
    Recorder("a torch.optim.Optimizer", _is_torch, _record_torch),
    Recorder("a keras.optimizers.Optimizer", _is_keras, _record_keras),
    Recorder("an Optax gradient transformation", _is_optax, _record_optax),
    Recorder("a mapping of names to NumPy arrays", _is_arrays, _record_arrays),
)
"""Tried in this order."""
