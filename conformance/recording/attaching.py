"""Recording from inside a process that `optconform trace record` brought about: which optimizers, under which names."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...adapters.text import describe_error
from .keras_callback import recording_callback
from .meeting import Meeting
from .record import is_instance_of, record

MOST = 16
"""Optimizers recorded at most. Each has a thread and a trace; a search over hundreds of runs is not to fill a disk."""
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
"""Where launchers of several processes tell each its number, the one that counts first."""
_XLA = (
    "XLA compiled a fit: a gradient that is read is one more output, around which it may round some other way in the "
    "last bit; with jit_compile=False the training is the same bits as without recording"
)


class Attacher:
    """Begins a recording of every optimizer that it meets, the first time and in the process of rank 0.

    `folder` is that of the `Meeting`, and `tell(folder, *event)` reports to the command. Nothing is raised: what
    cannot be recorded is reported, and training goes on.
    """

    def __init__(self, folder: str, tell: Callable[..., object]) -> None:
        self._folder, self._tell = folder, tell
        self._meeting = Meeting.join(Path(folder))
        options = self._meeting.options
        self._options = {each.name: getattr(options, each.name) for each in fields(options)}
        self._met: dict[int, weakref.ref[Any]] = {}
        self._lock = threading.Lock()

    def attach(self, optimizer: Any) -> None:
        """Attach to `optimizer`, which is about to make a step, unless that was done before."""
        if self._knows(optimizer):
            return
        with self._lock:
            if not self._knows(optimizer):
                self._met[id(optimizer)] = weakref.ref(optimizer)
                self._begin(optimizer, lambda path: record(optimizer, path, **self._options, **_model_of(optimizer)))

    def callback_for(self, model: Any) -> Any:
        """The callback by which a `fit` of the Keras model `model` that XLA compiles is recorded; None for none."""
        optimizer = model.optimizer
        with self._lock:
            self._met[id(optimizer)] = weakref.ref(optimizer)  # the callback attaches to it
            return self._begin(optimizer, lambda path: self._unfailing(recording_callback(path, **self._options)))

    def _unfailing(self, callback: Any) -> Any:
        """`callback`, which reports instead of raising where the `fit` cannot be recorded."""
        begin = callback.on_train_begin

        def on_train_begin(logs: Any = None) -> None:
            try:
                begin(logs)
            except Exception as error:
                self._report("refused", describe_error(error))

        callback.on_train_begin = on_train_begin
        self._report("note", _XLA)
        return callback

    def _report(self, kind: str, detail: str) -> None:
        self._tell(self._folder, kind, detail)

    def _knows(self, optimizer: Any) -> bool:
        known = self._met.get(id(optimizer))
        return known is not None and known() is optimizer

    def _begin(self, optimizer: Any, start: Callable[[Path], Any]) -> Any:
        """Return what `start` makes of the path under which `optimizer` is recorded; None where it is not."""
        kind = f"{type(optimizer).__module__}:{type(optimizer).__qualname__}"
        rank = process_rank()
        if rank != 0:
            self._report("rank", str(rank))
            return None
        path = self._meeting.claim(MOST)
        if path is None:
            self._report("beyond", kind)
            return None
        try:
            started = start(path)
        except Exception as error:  # whatever it is, it is not the training's
            self._meeting.give_back(path)
            self._report("refused", f"{kind}: {describe_error(error)}")
            return None
        self._report("recording", path.name)
        return started


def _model_of(optimizer: Any) -> dict[str, Any]:
    """The argument of `record` that tells what parameters are called, for an optimizer that does not know it."""
    if not is_instance_of(optimizer, "torch.optim.optimizer.Optimizer"):
        return {}
    from ...adapters.torch_models import model_of

    try:
        return {"model": model_of(optimizer)}
    except Exception:  # somebody's model cannot list its parameters; names are not worth the recording
        return {}


def process_rank() -> int:
    """The number of this process among those that train together; 0 where it trains alone."""
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    told = (os.environ.get(name, "") for name in RANK_VARIABLES)
    return next((int(rank) for rank in told if rank.isdecimal()), 0)
