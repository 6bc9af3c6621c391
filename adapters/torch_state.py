"""Saving a PyTorch optimizer: complete snapshots, and the way users do it, through `state_dict`."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from . import saved_attributes
from .errors import NotSupported, StepFailed, foreign_code
from .saved_attributes import SavedValues
from .torch_groups import groups_of

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


class Snapshots:
    """Takes snapshots of one optimizer over its tensors and restores them; made right after construction."""

    def __init__(self, optimizer: Any, tensors: Mapping[str, Any], hyperparameters: frozenset[str]) -> None:
        self._optimizer = optimizer
        self._tensors = tensors
        self._anchors = tuple(tensors.values())
        self._skip = hyperparameters | {"params"}
        self._skip_attributes = self._skip | _BOOKKEEPING
        self._first_groups = [
            saved_attributes.first_values(group, self._anchors, self._skip) for group in groups_of(optimizer)
        ]
        self._first_attributes = saved_attributes.first_values(vars(optimizer), self._anchors, self._skip_attributes)

    def take(self) -> TorchSnapshot:
        """Return deep copies of parameters, `state`, and all else that changed since construction."""
        anchors = self._anchors
        memo = {id(anchor): anchor for anchor in anchors}
        return TorchSnapshot(
            parameters={name: tensor.detach().clone() for name, tensor in self._tensors.items()},
            state=copy.deepcopy(dict(getattr(self._optimizer, "state", {})), memo),
            groups=tuple(
                saved_attributes.save(group, first, anchors, self._skip)
                for group, first in zip(groups_of(self._optimizer), self._first_groups, strict=True)
            ),
            attributes=saved_attributes.save(
                vars(self._optimizer), self._first_attributes, anchors, self._skip_attributes
            ),
            anchors=anchors,
        )

    def restore(self, snapshot: TorchSnapshot) -> None:
        """Return to a snapshot of this optimizer, or of one built with other hyperparameters."""
        with torch.no_grad():
            for name, value in snapshot.parameters.items():
                self._tensors[name].copy_(value)
        memo = {id(old): new for old, new in zip(snapshot.anchors, self._anchors, strict=True)}
        state = getattr(self._optimizer, "state", None)
        if state is not None:
            state.clear()
            state.update(copy.deepcopy(snapshot.state, memo))
        for group, saved, first in zip(groups_of(self._optimizer), snapshot.groups, self._first_groups, strict=True):
            saved_attributes.restore(group, saved, first, self._anchors, self._skip)
        saved_attributes.restore(
            vars(self._optimizer), snapshot.attributes, self._first_attributes, self._anchors, self._skip_attributes
        )


def save_state(optimizer: Any, spec: str) -> Any:
    """Return `optimizer.state_dict()` as bytes of `torch.save`, or deep-copied where they cannot be read back.

    `torch.load` with `weights_only=True`, its default, refuses classes that it does not know. Raises
    `NotSupported` for an optimizer without `state_dict` and `load_state_dict`, `StepFailed` where one raises.
    """
    if not (callable(getattr(optimizer, "state_dict", None)) and callable(getattr(optimizer, "load_state_dict", None))):
        raise NotSupported(f"{spec} has no state_dict() and load_state_dict(), so there is nothing to save it by.")
    with foreign_code(StepFailed, f"{spec}: state_dict()"):
        state = optimizer.state_dict()
    buffer = io.BytesIO()
    try:
        torch.save(state, buffer)
        torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    except Exception:  # pickle, zip and torch raise half a dozen unrelated types
        with foreign_code(StepFailed, f"{spec}: copying what state_dict() returned"):
            return copy.deepcopy(state)
    return buffer.getvalue()


def load_state(optimizer: Any, saved: Any, spec: str) -> None:
    """Give what `save_state` returned to `optimizer.load_state_dict`; `saved` stays as it is, to be loaded again."""
    state = torch.load(io.BytesIO(saved), weights_only=True) if isinstance(saved, bytes) else copy.deepcopy(saved)
    with foreign_code(StepFailed, f"{spec}: load_state_dict()"):
        optimizer.load_state_dict(state)
