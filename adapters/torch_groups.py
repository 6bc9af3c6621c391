"""Parameter groups of PyTorch optimizers: how parameters are handed over, what the groups hold afterwards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Any

import torch

from .errors import NotSupported
from .layouts import Part
from .options import names_in_order
from .protocol import Target
from .text import escape_control
from .torch_tensors import plain_value

Group = MutableMapping[str, Any]


def groups_of(optimizer: Any) -> list[Group]:
    """Return the parameter groups; a hand-written optimizer without any keeps its options on itself."""
    groups = getattr(optimizer, "param_groups", None)
    return list(groups) if groups is not None else [vars(optimizer)]


def entries_of(optimizer: Any, names: Collection[str]) -> list[Any]:
    """Return what the groups hold under any of `names`."""
    return [group[name] for group in groups_of(optimizer) for name in names if name in group]


def handed_over(parts: Sequence[Part], tensors: Mapping[str, Any], decay_key: str | None) -> list[Any]:
    """Return what the constructor takes first: a list of tensors, or of groups where there is more than one part.

    `decay_key` is what a group calls its weight decay; parts that are not decayed hold 0 under it.
    """
    if decay_key is None and len(parts) == 1:
        return [tensors[name] for name in parts[0].names]
    return [
        {"params": [tensors[name] for name in part.names], **({decay_key: 0.0} if part.undecayed and decay_key else {})}
        for part in parts
    ]


def decay_key_of(target: Target, optimizer: Any) -> str:
    """Return the name under which the parameter groups of `optimizer`, a plain instance, hold weight decay.

    Raises `NotSupported` where they hold none.
    """
    groups = getattr(optimizer, "param_groups", None) or [{}]
    for name in names_in_order(target, "weight_decay"):
        if name in groups[0]:
            return name
    raise NotSupported(
        f"{escape_control(target.spec)} keeps no weight decay in its parameter groups, so that no parameter can be "
        "excluded from it by a group of its own."
    )


def require_groups(target: Target, optimizer: Any, tensors: Collection[Any]) -> None:
    """Raise `NotSupported` unless `optimizer`, built from parameter groups, holds all tensors in such groups."""
    held = {id(tensor) for group in getattr(optimizer, "param_groups", ()) for tensor in group.get("params", ())}
    if not held.issuperset(map(id, tensors)):
        raise NotSupported(
            f"{escape_control(target.spec)} does not take parameter groups: its param_groups hold "
            f"{len(held & set(map(id, tensors)))} of the {len(tensors)} parameters given."
        )


def decay_of(group: Mapping[str, Any], names: Sequence[str]) -> float:
    """Return the weight decay of `group`, held under the first of `names` that it has; 0 for none, or None."""
    value = next((plain_value(group[name]) for name in names if name in group), None)
    return float(value) if isinstance(value, int | float) else 0.0


def excluded_parameters(target: Target, optimizer: Any, tensors: Mapping[str, Any]) -> frozenset[str]:
    """Return the parameters whose group holds weight decay 0 or None while that of another group is not zero."""
    names = names_in_order(target, "weight_decay")
    groups = groups_of(optimizer)
    if not any(decay_of(group, names) for group in groups):
        return frozenset()
    spared = {id(tensor) for group in groups if not decay_of(group, names) for tensor in group.get("params", ())}
    return frozenset(name for name, tensor in tensors.items() if id(tensor) in spared)


def set_entry(group: Group, name: str, value: float) -> None:
    """Set a hyperparameter of a group, filling the tensor where it is held as one."""
    if isinstance(group.get(name), torch.Tensor):
        group[name].fill_(value)
    else:
        group[name] = value
