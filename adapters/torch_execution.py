"""PyTorch as the gate runs it: every way in which its optimizers apply an update, each with proof of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from .arrays import host_copies
from .execution import MASTER_DTYPES, Executed, Execution, OfAdapter, OfOptimizer, Open, Opening, Proof
from .options import accepts, names_of
from .protocol import Gradients, SparseRows
from .pytorch import TorchAdapter
from .torch_compiled import CompileWatch
from .torch_construct import require_tensor_lr
from .torch_cuda_graph import GraphWatch
from .torch_devices import Location, describe_device, flags
from .torch_masters import MasterWatch
from .torch_optimizer import TorchOptimizer
from .torch_paths import not_taken, tensor_lr
from .torch_proofs import (
    OperatorWatch,
    RateWatch,
    Unwatched,
    Watch,
    waits_for_nothing,
    written_by_foreach,
    written_by_fused,
    written_by_loop,
)
from .torch_scaling import ScaledWatch, scale_for


class TorchRuntime(OfAdapter):
    """PyTorch in one process."""

    def __init__(self) -> None:
        super().__init__(TorchAdapter(), EXECUTIONS)

    def describe(self, device: str) -> dict[str, str]:
        """Return what is known of a device."""
        return describe_device(device)

    def flags(self) -> dict[str, str]:
        """Return the settings that change bits, as they are now."""
        return flags()


class TorchExecuted(OfOptimizer):
    """A PyTorch optimizer on its way, watched in every step."""

    def __init__(self, optimizer: TorchOptimizer, watch: Watch, place: str, gradient_dtype: str | None = None) -> None:
        super().__init__(optimizer)
        self._optimizer = optimizer
        self._watch = watch
        self._location = Location(optimizer, place)
        self._gradient_dtype = gradient_dtype
        optimizer.apply = partial(watch, optimizer.apply)

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update. Raises as `TorchOptimizer.step` does."""
        given = gradients if self._gradient_dtype is None else _rounded(gradients, self._gradient_dtype)
        with _without_capture_notice():
            self._optimizer.step(given, lr)
        self._location.look()

    def proof(self) -> Proof:
        """Return what the steps so far have shown."""
        on_path, path = self._watch.verdict()
        on_device, place = self._location.verdict()
        return Proof(on_path, on_device, f"{path}; {place}")


WatchOf = Callable[[Opening, TorchOptimizer], Watch]


def _open(path: str | None, watch: WatchOf, opening: Opening, needs: tuple[str, ...] = ()) -> Executed:
    """Build the target on one of the adapter's paths, watched; it must have one of the options in `needs`."""
    target = opening.target
    if needs and not any(accepts(target, name) for name in needs):
        raise not_taken(target, path, f"there is no option {' or '.join(map(repr, needs))} that could be turned off")
    adapter = TorchAdapter()
    place = adapter.place(opening.device)
    with _without_capture_notice():
        optimizer = opening.built_by(adapter, path)
    return TorchExecuted(optimizer, watch(opening, optimizer), place)


def _open_scaled(path: str | None, opening: Opening) -> Executed:
    """Build the target to be stepped by a GradScaler: on its default path, or on the fused one."""
    name = "grad-scaler" if path is None else "grad-scaler-fused"
    target, dtype, feeds = opening.target, opening.dtype, opening.feeds
    adapter = TorchAdapter()
    place = adapter.place(opening.device)
    optimizer = opening.built_by(adapter, path)
    built = optimizer.optimizer
    if not hasattr(built, "param_groups"):
        raise not_taken(target, name, "GradScaler reads param_groups, and there are none")
    if dtype == "float16" and not getattr(built, "_step_supports_amp_scaling", False):
        raise not_taken(target, name, "GradScaler leaves float16 gradients to optimizers that unscale them themselves")
    watch = ScaledWatch(optimizer, scale_for(feeds, dtype), len(feeds), place.partition(":")[0], fused=path is not None)
    return TorchExecuted(optimizer, watch, place)


def _open_masters(opening: Opening) -> Executed:
    """Build the target over float32 masters, which begin as the parameters of a model of 16 bits."""
    dtype = opening.dtype
    if dtype not in MASTER_DTYPES:
        widths = " or ".join(MASTER_DTYPES)
        raise not_taken(opening.target, "master-weights", f"a model in {dtype} has no wider masters; use {widths}")
    master = MASTER_DTYPES[dtype]
    adapter = TorchAdapter()
    optimizer = replace(opening.rounded(), dtype=master).built_by(adapter)
    watch, place = MasterWatch(optimizer, dtype, master), adapter.place(opening.device)
    return TorchExecuted(optimizer, watch, place, gradient_dtype=dtype)


def _open_captured(opening: Opening) -> Executed:
    """Build the target to be captured in a CUDA graph: its learning rate must be memory that a replay reads."""
    name, target = "cuda-graph", opening.target
    adapter = TorchAdapter()
    place = adapter.place(opening.device)
    if place == "cpu":
        raise not_taken(target, name, "it is captured on a GPU; use --device cuda")
    rate = tensor_lr(target, name, opening.hyperparameters, opening.dtype, place)
    with _without_capture_notice():
        rated = replace(opening, hyperparameters={**opening.hyperparameters, **rate})
        optimizer = rated.built_by(adapter, "capturable")
    require_tensor_lr(target, name, optimizer.optimizer)
    return TorchExecuted(optimizer, GraphWatch(optimizer), place)


def _watched(path: str | None, watch: WatchOf, needs: tuple[str, ...] = ()) -> Open:
    """Return what opens a path of the adapter under `watch`."""
    return partial(_open, path, watch, needs=needs)


EXECUTIONS = (
    Execution("default", _watched(None, lambda *_: Unwatched())),
    Execution(
        "loop", _watched("loop", lambda _, built: OperatorWatch(built, written_by_loop), needs=("foreach", "fused"))
    ),
    Execution("foreach", _watched("foreach", lambda _, built: OperatorWatch(built, written_by_foreach))),
    Execution("fused", _watched("fused", lambda _, built: OperatorWatch(built, written_by_fused))),
    Execution(
        "capturable",
        _watched("capturable", lambda _, built: OperatorWatch(built, waits_for_nothing(built))),
        devices=("gpu",),
    ),
    Execution(
        "tensor-lr", _watched("tensor-lr", lambda opening, built: RateWatch(built, names_of(opening.target, "lr")))
    ),
    Execution("compiled", _watched("compiled", lambda _, built: CompileWatch(built)), slow=True),
    Execution("cuda-graph", _open_captured, devices=("gpu",)),
    Execution("grad-scaler", partial(_open_scaled, None)),
    Execution("grad-scaler-fused", partial(_open_scaled, "fused")),
    Execution("master-weights", _open_masters, steps_in=MASTER_DTYPES),
)
"""Of these the CPU lacks those that are for GPUs: torch.optim takes `capturable` on accelerators alone."""


def _rounded(gradients: Gradients, dtype: str) -> Gradients:
    """Return the gradients in `dtype`, rounded on the host as those of a model in it are."""
    dense = {name: each for name, each in gradients.items() if each is not None and not isinstance(each, SparseRows)}
    sparse = {
        name: replace(each, values=host_copies({name: each.values}, dtype)[name])
        for name, each in gradients.items()
        if isinstance(each, SparseRows)
    }
    return {**dict.fromkeys(gradients), **host_copies(dense, dtype), **sparse}


@contextmanager
def _without_capture_notice() -> Iterator[None]:
    """Leave out the notice that a capturable step runs outside of a CUDA graph, which is what is wanted here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True", UserWarning)
        yield
