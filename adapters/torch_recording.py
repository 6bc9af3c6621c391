"""Recording a PyTorch optimizer while it trains: what the hooks around its step see, handed to a `Sink`.

The hooks only read. A gradient is what the update rule is given: after unscaling and clipping by the training loop,
and after hooks that were there when the recording began; one that is registered later and changes gradients is not
seen. A step that `torch.amp.GradScaler` skips by not calling `step` is no step at all; one that a fused kernel skips is
marked as skipped.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
import torch

from .errors import NotSupported
from .host_buffers import HostBuffers
from .protocol import Array, SparseRows
from .recording import Gradient, GroupValues, Joined, Plan, Sink, TrainingStep
from .text import describe_error, escape_control
from .torch_gathering import Piece, gather, rows_at, taken
from .torch_recorded import ParameterNames, Recorded, Roster, marks_of_state, state_before
from .torch_tensors import plain_value

MOST_STRETCHES = 1000
"""Times that theta or the state may be changed between two recorded steps, each of which costs the trace a file of
state."""


class TorchRecorder:
    """Hands every step of one `torch.optim.Optimizer` to a sink, from `attach` on.

    `model` and `names` say what parameters are called; see `ParameterNames`. Raises `TypeError` for those, and for an
    optimizer that calls no step hooks.
    """

    def __init__(self, optimizer: Any, *, model: Any = None, names: Any = None) -> None:
        kind = type(optimizer)
        if not getattr(kind.step, "hooked", False) or not hasattr(optimizer, "_optimizer_step_pre_hooks"):
            raise TypeError(
                f"{kind.__qualname__} calls no step hooks, since it was made without torch.optim.Optimizer.__init__; "
                "record the optimizer that it wraps"
            )
        self._optimizer = optimizer
        self._names = ParameterNames(model, names)

    @property
    def versions(self) -> dict[str, str]:
        """Package name -> version, for the provenance."""
        return {"torch": str(torch.__version__)}

    @property
    def lr_base(self) -> float | None:
        """The learning rate that a schedule began with, where there is one already."""
        groups = self._optimizer.param_groups
        base = plain_value(groups[0].get("initial_lr")) if groups else None
        return float(base) if isinstance(base, int | float) and base > 0 else None

    def attach(self, sink: Sink) -> Callable[[], None]:
        """Begin to hand over steps; what it returns ends that."""
        # The hooks, and so the optimizer, hold all of this, and nothing of this holds the optimizer: it goes with the
        # last reference to it, parameters included, even if nobody closes the recording.
        capture = _Capture(sink, Roster(self._names, sink.coordinates))
        handles = (
            self._optimizer.register_step_pre_hook(torch.compiler.disable(capture.before)),
            self._optimizer.register_step_post_hook(torch.compiler.disable(capture.after)),
        )

        def detach() -> None:
            for handle in handles:
                handle.remove()

        return detach


@dataclass(slots=True)
class _Pending:
    """A step that is under way."""

    plan: Plan
    groups: Sequence[GroupValues]
    joined: Sequence[Joined]
    start: dict[str, dict[str, Array]] | None
    gradients: dict[str, Gradient] | None = None
    """None until they are there: a closure computes them within the step."""
    skipped: bool = False


@dataclass(slots=True)
class _Capture:
    """The two hooks, and what lies between them."""

    sink: Sink
    roster: Roster
    _frame: FrameType | None = field(default=None, init=False)
    """The call of `step` that is under way."""
    _inner: int = field(default=0, init=False)
    """Calls of `step` inside it: that of a base class, called by that of a subclass."""
    _pending: _Pending | None = field(default=None, init=False)
    _left: dict[str, Array] | None = field(default=None, init=False)
    """Theta as the last step left it, where that was kept."""
    _marks: tuple[tuple[int, int], ...] = field(default=(), init=False)
    """`marks_of_state`, as it left them."""
    _moved: int = field(default=0, init=False)
    _buffers: HostBuffers = field(default_factory=HostBuffers, init=False)

    def before(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Pre-hook: count the step and take what is there before it. Returns the arguments where it wraps a closure."""
        if self._frame is not None and _is_running(self._frame):
            self._inner += 1
            return None
        if self._pending is not None:
            self.sink.stop(
                "a step was broken off by an error, or goes on in another thread, and what it has changed is unknown"
            )
        self._frame, self._inner, self._pending = _step_frame(), 0, None
        plan = self.sink.next_step()
        if plan is None:
            return None
        return self._guarded(lambda: self._begin(plan, optimizer, args, kwargs))

    def after(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Post-hook: hand over the step."""
        if self._inner:
            self._inner -= 1
            return
        pending, self._frame, self._pending = self._pending, None, None
        if pending is not None:
            self._guarded(lambda: self._finish(pending, optimizer))

    def _begin(self, plan: Plan, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        known = self.roster.known if plan.start or plan.after else ()
        new = self.roster.meet(optimizer)
        if any(each.tensor.is_cuda for each in self.roster.taking_part) and torch.cuda.is_current_stream_capturing():
            raise NotSupported("a CUDA graph captures the step, and what it replays later is seen by nobody")
        theta = gather((each.piece(each.tensor) for each in (*known, *new)), self._buffers)
        # A loop that clips weights, loads a checkpoint or resets momentum changes the run between steps: a new stretch
        # begins there.
        begins = plan.start or (plan.after and not self._stayed(optimizer, known, theta))
        self._moved += begins and not plan.start
        if self._moved > MOST_STRETCHES:
            raise NotSupported(
                f"the parameters or the state were changed between steps {MOST_STRETCHES:,} times, and each time takes "
                "the whole state to record; leave snapshots out, or record fewer steps with every="
            )
        start = {**state_before(optimizer, self.roster.taking_part), "theta": theta} if begins else None
        joined = [Joined(each.name, each.shape, each.dtype, theta[each.name]) for each in new]
        pending = _Pending(plan, self.roster.groups(optimizer), joined, start)
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if callable(closure):
            self._pending = pending
            wrapped = self._watched(closure, optimizer, pending)
            return ((args[0], wrapped, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "closure": wrapped})
        self._take_gradients(optimizer, pending)
        self._pending = pending
        return None

    def _stayed(self, optimizer: Any, known: Sequence[Recorded], theta: dict[str, Array]) -> bool:
        left = self._left
        if left is None or marks_of_state(optimizer, known) != self._marks:
            return False
        return all(_same_bits(left[name], theta[name]) for name in left)

    def _watched(self, closure: Callable[[], Any], optimizer: Any, pending: _Pending) -> Callable[[], Any]:
        """`closure`, whose first call in a step leaves the step's gradients behind."""

        @functools.wraps(closure)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self._pending is pending and pending.gradients is not None:
                self._pending = None
                self.sink.stop(
                    f"{type(optimizer).__qualname__} calls its closure more than once in a step, which then has no "
                    "single gradient"
                )
            loss = closure(*args, **kwargs)
            if self._pending is pending:
                self._guarded(lambda: self._take_gradients(optimizer, pending))
            return loss

        return wrapped

    def _take_gradients(self, optimizer: Any, pending: _Pending) -> None:
        scale = None
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            # Set for the time of the step where `GradScaler` leaves unscaling and skipping to a fused kernel.
            scale = plain_value(getattr(optimizer, "grad_scale", None))
            pending.skipped = bool(plain_value(getattr(optimizer, "found_inf", None)))
        pending.gradients = {} if pending.skipped else _gradients(self.roster.taking_part, scale, self._buffers)

    def _finish(self, pending: _Pending, optimizer: Any) -> None:
        if pending.gradients is None:
            raise NotSupported(f"{type(optimizer).__qualname__} does not call the closure that its step is given")
        if pending.plan.after:
            self._left = gather((each.piece(each.tensor) for each in self.roster.known), self._buffers)
            self._marks = marks_of_state(optimizer, self.roster.known)
        lr = pending.groups[0].hyperparameters.get("lr") if pending.groups else None
        self.sink.put(
            TrainingStep(
                gradients=pending.gradients,
                lr=float(lr) if isinstance(lr, int | float) else 1.0,
                groups=pending.groups,
                after=self._left,
                joined=pending.joined,
                start=pending.start,
                skipped=pending.skipped,
            )
        )

    def _guarded(self, action: Callable[[], Any]) -> Any:
        """Do what is the recording's alone, so that no error of it reaches the training."""
        try:
            return action()
        except NotSupported as error:
            self.sink.stop(str(error))
        except Exception as error:  # whatever it is, it is not the training's
            self.sink.stop(f"reading the optimizer failed with {describe_error(error)}")
        except BaseException:  # an interrupt from the keyboard is the training's, wherever it comes
            self._pending = None
            self.sink.stop("an interrupt came while a step was read, of which a part is missing now")
            raise
        self._pending = None
        return None


def _gradients(parameters: Sequence[Recorded], scale: float | None, buffers: HostBuffers) -> dict[str, Gradient]:
    """The gradients there are, divided by `scale` where one is given."""
    pieces: list[Piece] = []
    sparse: dict[str, tuple[int, ...]] = {}
    for each in parameters:
        gradient = each.tensor.grad
        if gradient is None:
            continue
        if gradient.dtype is not each.tensor.dtype:
            dtype = str(gradient.dtype).removeprefix("torch.")
            raise NotSupported(f"the gradient of {escape_control(each.name)} is {dtype}, its parameter {each.dtype}")
        if gradient.layout is torch.strided:
            pieces.append(each.piece(gradient) if scale is None else _unscaled(each.piece(gradient), scale))
        elif gradient.layout is torch.sparse_coo and gradient.sparse_dim() == 1:
            rows, values = _rows(gradient)
            if each.index is not None:
                pieces.append(Piece(each.name, rows_at(rows, values, each.shape, each.index.to(rows.device))))
            else:
                sparse[each.name] = each.shape
                pieces += (Piece((each.name, "rows"), rows), Piece((each.name, "values"), values))
        elif gradient.layout is torch.sparse_coo:
            pieces.append(each.piece(gradient.to_dense()))
        else:
            raise NotSupported(f"the gradient of {escape_control(each.name)} is stored as {gradient.layout}")
    found: dict[Any, Any] = gather(pieces, buffers)
    for name, shape in sparse.items():
        found[name] = SparseRows(found.pop((name, "rows")), found.pop((name, "values")), shape)
    return found


def _rows(gradient: Any) -> tuple[Any, Any]:
    """Rows, rising and each once, and values of a sparse gradient."""
    with torch.no_grad():
        whole = gradient.detach().coalesce()
    return whole.indices()[0], whole.values()


def _unscaled(piece: Piece, scale: float) -> Piece:
    """The piece divided by `scale` as a fused kernel does it: 16-bit gradients in float32."""
    with torch.no_grad():
        kept = piece.tensor if piece.index is None else taken(piece.tensor, piece.index)
        wide = kept.float() if kept.dtype in (torch.float16, torch.bfloat16) else kept
        # A tensor on the device: CUDA multiplies by the reciprocal of a number, which may round differently.
        divisor = torch.full((), scale, dtype=wide.dtype, device=wide.device)
        return Piece(piece.key, (wide / divisor).to(kept.dtype))


def _same_bits(one: Array, other: Array) -> bool:
    return np.array_equal(one.reshape(-1).view(np.uint8), other.reshape(-1).view(np.uint8))


def _step_frame() -> FrameType:
    """The call of `step` that a hook, which calls this, was called from; the compiler's own frames are passed over."""
    frame = sys._getframe(2)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("torch._dynamo"):
        frame = frame.f_back
    return frame


def _is_running(frame: FrameType) -> bool:
    at: FrameType | None = sys._getframe(1)
    while at is not None and at is not frame:
        at = at.f_back
    return at is frame
