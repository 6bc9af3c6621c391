"""A PyTorch optimizer at work: stepped through `Parameter.grad`, read, saved and restored."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from .arrays import HOST_DTYPES, checked, chosen, pack
from .errors import NotReplayable, NotSupported, StepFailed, foreign_code
from .options import canonical_values, held_values, names_in_order, names_of
from .protocol import Array, Cast, Gradients, MissingGradient, SparseRows, Target
from .text import escape_control
from .torch_groups import decay_of, entries_of, excluded_parameters, groups_of, set_entry
from .torch_paths import Path
from .torch_state import Snapshots, TorchSnapshot, load_state, save_state
from .torch_tensors import plain_value, state_array, to_array, to_sparse, to_tensor, without_sparse_notice

CANONICAL_STATE: Mapping[str, str] = {
    "exp_avg": "m",
    "exp_avg_sq": "v",
    "max_exp_avg_sq": "v_max",
    "momentum_buffer": "momentum",
}
"""torch.optim's name of a state tensor -> canonical slot. Other names stay."""

_SIXTEEN_BIT = ("float16", "bfloat16")

_FLOAT32_SCALARS = (torch.optim.ASGD,)
"""Classes that keep their step size in a float32 tensor on every path, and so in float64 too."""

_COMPILERS = ("torch._dynamo", "torch._inductor")
"""Modules whose exceptions mean that a step could not be compiled."""


@dataclass(frozen=True, slots=True)
class Precision:
    """In which dtypes an optimizer's parameters are."""

    working: str
    parameters: Mapping[str, str]
    """Parameter name -> dtype, where it may be another than the working precision."""

    def names_in(self, dtype: str) -> list[str]:
        """Return the parameters that are held in `dtype`."""
        return [name for name, own in self.parameters.items() if own == dtype]


class TorchOptimizer:
    """A PyTorch optimizer over its own parameters."""

    missing_gradient = MissingGradient.SKIPPED

    def __init__(
        self,
        target: Target,
        built: Any,
        tensors: Mapping[str, Any],
        precision: Precision,
        arguments: Mapping[str, Any],
        way: Path,
    ) -> None:
        self.optimizer = built
        """The optimizer itself, for checks that need the framework's own interface."""
        self._spec = escape_control(target.spec)
        self._tensors = dict(tensors)
        self._shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self._precision = precision
        self._shapes_by_dtype = {
            dtype: {name: self._shapes[name] for name in precision.names_in(dtype)}
            for dtype in dict.fromkeys(precision.parameters.values())
        }
        self._device = next(iter(tensors.values())).device if tensors else torch.device("cpu")
        self._lr_names = names_of(target, "lr")
        self._decay_names = names_in_order(target, "weight_decay")
        self._needs_closure = needs_closure(built)
        self._snapshots = Snapshots(built, self._tensors, self._lr_names.union(self._decay_names))
        self._fed: dict[str, Any] = {}
        self.apply: Callable[[], Any] = torch.compile(built.step) if way.compiled else lambda: self.optimizer.step()
        """Applies one update once gradients and learning rate are set; an execution may put its own in its place."""
        self.excluded = excluded_parameters(target, built, self._tensors)
        self._spared = {id(self._tensors[name]) for name in self.excluded}
        self.held = self._read_held(target, arguments)
        self.casts = self._read_casts()
        # The fused kernels load 16-bit tensors, compute a whole step in float32, and round what they store.
        wide = precision.working in _SIXTEEN_BIT and self.held.get("fused") is True
        self.computes_in = "float32" if wide else None
        self.scalars_in = "float32" if isinstance(built, _FLOAT32_SCALARS) else way.scalars_in

    @property
    def tensors(self) -> Mapping[str, Any]:
        """The parameters themselves, by name."""
        return self._tensors

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update. A parameter without a gradient gets `grad = None`, sparse rows a sparse COO tensor.

        Raises `NotReplayable` where the step needs a closure, `StepFailed` where it raises, and
        `NotSupported` where it raises at a sparse gradient or cannot be compiled.
        """
        if self._needs_closure:
            raise NotReplayable(
                f"{self._spec}: step() needs a closure that computes the loss anew; "
                "recorded gradients alone cannot drive it."
            )
        sparse = self._feed(gradients)
        quiet = without_sparse_notice() if sparse else nullcontext()
        with self._unsupported(sparse), foreign_code(StepFailed, f"{self._spec}: step()"), quiet:
            for group in groups_of(self.optimizer):
                for name in [name for name in self._lr_names if name in group] or ["lr"]:
                    set_entry(group, name, lr)
            self.apply()

    def gradients_left(self) -> dict[str, Array]:
        """Return copies of `Parameter.grad` after the last step; of what was given where the step took it away."""
        left = {
            name: state_array(fed if self._tensors[name].grad is None else self._tensors[name].grad)
            for name, fed in self._fed.items()
        }
        return {name: array for name, array in left.items() if array is not None}

    def set_weight_decay(self, value: float) -> None:
        """Set weight decay in every parameter group but those of excluded parameters.

        Raises `NotSupported` where no group holds any.
        """
        changed = False
        for group in groups_of(self.optimizer):
            spared = any(id(tensor) in self._spared for tensor in group.get("params", ()))
            for name in () if spared else [name for name in self._decay_names if name in group]:
                with foreign_code(StepFailed, f"{self._spec}: setting {name}"):
                    set_entry(group, name, value)
                changed = True
        if not changed:
            raise NotSupported(f"{self._spec} holds no weight decay in its parameter groups that could be changed.")

    def save(self) -> Any:
        """Return `state_dict()` after a round trip through bytes, or copied where it cannot make one."""
        return save_state(self.optimizer, self._spec)

    def load(self, saved: Any) -> None:
        """Give what `save` of another instance returned to `load_state_dict`."""
        load_state(self.optimizer, saved, self._spec)

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Return copies of the parameters (all, or those named). One transfer each, only for those."""
        return {name: to_array(self._tensors[name]) for name in chosen(names, self._shapes)}

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return copies of `optimizer.state`: slot -> parameter name -> array, `step` included."""
        slots: dict[str, dict[str, Array]] = {}
        state = getattr(self.optimizer, "state", {})
        for name, tensor in self._tensors.items():
            for slot, value in dict(state.get(tensor, {})).items():
                array = state_array(value)
                if array is not None:
                    slots.setdefault(CANONICAL_STATE.get(slot, str(slot)), {})[name] = array
        return slots

    def snapshot(self) -> TorchSnapshot:
        """Return deep copies of parameters, `state`, and all else that changed since construction."""
        with foreign_code(StepFailed, f"{self._spec}: copying its state"):
            return self._snapshots.take()

    def restore(self, snapshot: TorchSnapshot) -> None:
        """Return to a snapshot of this instance, or of one built with other hyperparameters over the same layout."""
        with foreign_code(StepFailed, f"{self._spec}: putting its state back"):
            self._snapshots.restore(snapshot)

    def _feed(self, gradients: Gradients) -> bool:
        """Set `grad` of every parameter; return whether a sparse one is among them.

        The dense ones lie end to end in one buffer for each dtype, and cross to a device in one transfer.
        """
        found = checked(gradients, self._shapes)
        for tensor in self._tensors.values():
            tensor.grad = None
        self._fed = {}
        sparse = {name: rows for name, rows in found.items() if isinstance(rows, SparseRows)}
        for name, rows in sparse.items():
            self._tensors[name].grad = to_sparse(rows, self._precision.parameters[name]).to(self._device)
        for dtype, shapes in self._shapes_by_dtype.items():
            dense = {name: None if name in sparse else gradients[name] for name in shapes}
            buffer, pieces = pack(dense, shapes, dtype)
            flat = to_tensor(buffer).to(self._device)
            for name, start, stop, shape in pieces:
                self._fed[name] = self._tensors[name].grad = flat[start:stop].view(shape)
        return bool(sparse)

    @contextmanager
    def _unsupported(self, sparse: bool) -> Iterator[None]:
        """Raise `NotSupported` for a failure that means that the step cannot be run so, and let others pass."""
        try:
            yield
        except StepFailed as failed:
            if isinstance(failed.__cause__, NotSupported):  # said by what an execution put in the place of `apply`
                raise failed.__cause__ from None
            if sparse:
                raise NotSupported(f"a sparse gradient is more than the target takes: {failed}") from failed.__cause__
            if type(failed.__cause__).__module__.startswith(_COMPILERS):
                raise NotSupported(f"torch.compile cannot compile the step: {failed}") from failed.__cause__
            raise

    def _read_held(self, target: Target, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the first group that decays holds, or the first where none does."""
        held = held_values(target, arguments, self.optimizer)
        groups = groups_of(self.optimizer)
        shown = next((group for group in groups if decay_of(group, self._decay_names)), groups[0])
        if hasattr(self.optimizer, "param_groups"):
            held |= canonical_values(target, {key: plain_value(shown[key]) for key in shown if key != "params"})
        return {name: plain_value(value) for name, value in held.items()}

    def _read_casts(self) -> tuple[Cast, ...]:
        """Return the rounding of the learning rate of every step, where it is held as a tensor of another dtype."""
        rates = entries_of(self.optimizer, self._lr_names)
        dtypes = {str(rate.dtype).removeprefix("torch.") for rate in rates if isinstance(rate, torch.Tensor)}
        rounded = (dtypes & HOST_DTYPES.keys()) - {"float64", self._precision.working}
        return tuple(Cast("lr", dtype) for dtype in sorted(rounded))


def needs_closure(built: Any) -> bool:
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
