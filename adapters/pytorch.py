"""PyTorch: optimizers that take `params` first and are stepped through `Parameter.grad`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from . import saved_attributes
from .arrays import HOST_DTYPES, chosen, host_copies, host_dtype, pack
from .devices import resolve_device
from .errors import BuildFailed, NotReplayable, StepFailed, UnknownOption, foreign_code
from .options import accepts, canonical_values, constructor_arguments, held_values, names_of, without_unaccepted_lr
from .protocol import PLAIN, Array, Cast, Gradients, Layout, MissingGradient, Target
from .saved_attributes import SavedValues
from .text import escape_control

CANONICAL_STATE: Mapping[str, str] = {
    "exp_avg": "m",
    "exp_avg_sq": "v",
    "max_exp_avg_sq": "v_max",
    "momentum_buffer": "momentum",
}
"""torch.optim's name of a state tensor -> canonical slot. Other names stay."""

PATHS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "loop": {"foreach": False, "fused": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}
"""Path -> constructor options that choose it; options that a target lacks are left out if False."""

_SIXTEEN_BIT = ("float16", "bfloat16")

_BOOKKEEPING = frozenset({"state", "param_groups", "defaults"})
"""Attributes of torch.optim.Optimizer that are saved on their own, or hold the constructor's arguments."""


@dataclass(frozen=True, slots=True)
class TorchSnapshot:
    """Parameters, per-parameter state, group entries and attributes at one moment."""

    parameters: Mapping[str, Any]
    state: Mapping[Any, Any]
    groups: tuple[SavedValues, ...]
    attributes: SavedValues
    anchors: tuple[Any, ...]


class TorchAdapter:
    """Builds PyTorch optimizers. The path names the constructor options `foreach` and `fused`."""

    framework = "torch"
    paths = tuple(PATHS)

    def versions(self) -> dict[str, str]:
        """Return the versions of torch and NumPy."""
        return {"torch": str(torch.__version__), "numpy": np.__version__}

    def devices(self) -> tuple[str, ...]:
        """Return `cpu` and one `gpu:N` for every CUDA or ROCm device."""
        return ("cpu", *(f"gpu:{index}" for index in range(torch.cuda.device_count())))

    def build(
        self,
        target: Target,
        hyperparameters: Mapping[str, Any],
        parameters: Mapping[str, Array],
        *,
        dtype: str = "float64",
        device: str = "cpu",
        path: str | None = None,
        layout: Layout = PLAIN,
    ) -> TorchOptimizer:
        """Construct `target` over one parameter group holding copies of `parameters`.

        Raises `UnknownOption`, `MissingDevice` or `BuildFailed`.
        """
        place = resolve_device(
            device, self.devices(), self.framework, "Install a CUDA build of torch and check torch.cuda.is_available()."
        )
        wanted = without_unaccepted_lr(target, {**hyperparameters, **_path_options(target, path)})
        arguments = constructor_arguments(target, wanted)
        tensors = {
            name: torch.nn.Parameter(_to_tensor(array).to(place.replace("gpu", "cuda")))
            for name, array in host_copies(parameters, dtype).items()
        }
        with foreign_code(BuildFailed, f"{escape_control(target.spec)}: the constructor"):
            built = target.attribute(list(tensors.values()), **arguments)
        if not callable(getattr(built, "step", None)):
            raise BuildFailed(
                f"{escape_control(target.spec)} returned {escape_control(type(built).__name__)}, "
                "which has no step(); a torch target returns an optimizer."
            )
        optimizer = TorchOptimizer(target, built, tensors, dtype, arguments)
        if "lr" not in optimizer.held:
            raise UnknownOption(
                f"{escape_control(target.spec)} keeps no learning rate in its parameter groups, so steps could not be "
                "told theirs. Say which option it is with --map lr=NAME."
            )
        return optimizer


class TorchOptimizer:
    """A PyTorch optimizer over its own parameters."""

    missing_gradient = MissingGradient.SKIPPED
    scalars_in: str | None = None

    def __init__(
        self, target: Target, built: Any, tensors: Mapping[str, Any], dtype: str, arguments: Mapping[str, Any]
    ) -> None:
        self.optimizer = built
        """The optimizer itself, for checks that need the framework's own interface."""
        self._spec = escape_control(target.spec)
        self._tensors = dict(tensors)
        self._shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self._dtype = dtype
        self._device = next(iter(tensors.values())).device if tensors else torch.device("cpu")
        self._lr_names = names_of(target, "lr")
        self._skip = names_of(target, "lr", "weight_decay") | {"params"}
        self._needs_closure = _needs_closure(built)
        self._anchors = tuple(self._tensors.values())
        self._first_groups = [
            saved_attributes.first_values(group, self._anchors, self._skip) for group in self._groups()
        ]
        self._first_attributes = saved_attributes.first_values(vars(built), self._anchors, self._skip | _BOOKKEEPING)
        self.held = self._read_held(target, arguments)
        self.casts = self._read_casts()
        # The fused kernels load 16-bit tensors, compute a whole step in float32, and round what they store.
        self.computes_in = "float32" if dtype in _SIXTEEN_BIT and self.held.get("fused") is True else None

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update. A parameter without a gradient gets `grad = None`.

        Raises `NotReplayable` where the step needs a closure, `StepFailed` where it raises.
        """
        if self._needs_closure:
            raise NotReplayable(
                f"{self._spec}: step() needs a closure that computes the loss anew; "
                "recorded gradients alone cannot drive it."
            )
        buffer, pieces = pack(gradients, self._shapes, self._dtype)
        flat = _to_tensor(buffer).to(self._device)
        for tensor in self._tensors.values():
            tensor.grad = None
        for name, start, stop, shape in pieces:
            self._tensors[name].grad = flat[start:stop].view(shape)
        with foreign_code(StepFailed, f"{self._spec}: step()"):
            self._set_lr(lr)
            self.optimizer.step()

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Return copies of the parameters (all, or those named). One transfer each, only for those."""
        return {name: _to_array(self._tensors[name]) for name in chosen(names, self._shapes)}

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return copies of `optimizer.state`: slot -> parameter name -> array, `step` included."""
        slots: dict[str, dict[str, Array]] = {}
        state = getattr(self.optimizer, "state", {})
        for name, tensor in self._tensors.items():
            for slot, value in dict(state.get(tensor, {})).items():
                array = _state_array(value)
                if array is not None:
                    slots.setdefault(CANONICAL_STATE.get(slot, str(slot)), {})[name] = array
        return slots

    def snapshot(self) -> TorchSnapshot:
        """Return deep copies of parameters, `state`, and all else that changed since construction."""
        anchors = self._anchors
        memo = {id(anchor): anchor for anchor in anchors}
        return TorchSnapshot(
            parameters={name: tensor.detach().clone() for name, tensor in self._tensors.items()},
            state=copy.deepcopy(dict(getattr(self.optimizer, "state", {})), memo),
            groups=tuple(
                saved_attributes.save(group, first, anchors, self._skip)
                for group, first in zip(self._groups(), self._first_groups, strict=True)
            ),
            attributes=saved_attributes.save(
                vars(self.optimizer), self._first_attributes, anchors, self._skip | _BOOKKEEPING
            ),
            anchors=anchors,
        )

    def restore(self, snapshot: TorchSnapshot) -> None:
        """Return to a snapshot of this instance, or of one built with other hyperparameters."""
        with torch.no_grad():
            for name, value in snapshot.parameters.items():
                self._tensors[name].copy_(value)
        memo = {id(old): new for old, new in zip(snapshot.anchors, self._anchors, strict=True)}
        state = getattr(self.optimizer, "state", None)
        if state is not None:
            state.clear()
            state.update(copy.deepcopy(snapshot.state, memo))
        for group, saved, first in zip(self._groups(), snapshot.groups, self._first_groups, strict=True):
            saved_attributes.restore(group, saved, first, self._anchors, self._skip)
        saved_attributes.restore(
            vars(self.optimizer),
            snapshot.attributes,
            self._first_attributes,
            self._anchors,
            self._skip | _BOOKKEEPING,
        )

    def _groups(self) -> list[MutableMapping[str, Any]]:
        """Return the parameter groups; a hand-written optimizer without any keeps its options on itself."""
        groups = getattr(self.optimizer, "param_groups", None)
        return list(groups) if groups is not None else [vars(self.optimizer)]

    def _set_lr(self, lr: float) -> None:
        for group in self._groups():
            for name in [name for name in self._lr_names if name in group] or ["lr"]:
                if isinstance(group.get(name), torch.Tensor):
                    group[name].fill_(lr)
                else:
                    group[name] = lr

    def _read_held(self, target: Target, arguments: Mapping[str, Any]) -> dict[str, Any]:
        held = held_values(target, arguments, self.optimizer)
        group = {name: _plain(value) for name, value in self._groups()[0].items() if name != "params"}
        if hasattr(self.optimizer, "param_groups"):
            held |= canonical_values(target, group)
        return held

    def _read_casts(self) -> tuple[Cast, ...]:
        """Return the rounding of the learning rate of every step, where it is held as a tensor of another dtype."""
        rates = (group.get(name) for group in self._groups() for name in self._lr_names)
        dtypes = {str(rate.dtype).removeprefix("torch.") for rate in rates if isinstance(rate, torch.Tensor)}
        return tuple(Cast("lr", dtype) for dtype in sorted((dtypes & HOST_DTYPES.keys()) - {"float64", self._dtype}))


def _path_options(target: Target, path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    if path not in PATHS:
        raise UnknownOption(f"torch has no path {path!r}; expected one of {', '.join(PATHS)}.")
    return {name: value for name, value in PATHS[path].items() if value or accepts(target, name)}


def _needs_closure(built: Any) -> bool:
    """Return whether `step` has a parameter without a default, which can only be the closure."""
    try:
        parameters = inspect.signature(built.step).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in parameters
    )


def _to_tensor(array: Array) -> Any:
    """Return a tensor over the same memory. bfloat16, unknown to `from_numpy`, passes as 16-bit integers."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _to_array(tensor: Any) -> Array:
    """Return a copy on the host, in the tensor's own dtype and shape."""
    host = tensor.detach().cpu().contiguous()
    if host.dtype is torch.bfloat16:
        return np.array(host.view(torch.int16).numpy()).view(host_dtype("bfloat16"))
    return np.array(host.numpy())


def _state_array(value: Any) -> Array | None:
    if isinstance(value, torch.Tensor) and value.layout is torch.strided:
        return _to_array(value)
    return np.asarray(value) if isinstance(value, bool | int | float) else None


def _plain(value: Any) -> Any:
    """Return a one-element tensor as the number it holds, a tuple element by element, all else as it is."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.item()
    return tuple(map(_plain, value)) if isinstance(value, tuple | list) else value
