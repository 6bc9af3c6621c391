"""Save and restore the values an object keeps beside its tensors, but not its hyperparameters.

Optimizers written by hand keep step counts, buffers and whole schedules where they like: on `self`, in
a parameter group, in dictionaries keyed by parameter. Whatever has changed since construction is state
and is saved; whatever has not is a hyperparameter, or a buffer still at its first value, and an
instance built with other hyperparameters restores it to its own first value.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class SavedValues:
    """Values that had changed since construction, and the names of all that were there."""

    changed: Mapping[str, Any]
    names: frozenset[str]
    anchors: Sequence[Any]
    """The parameters (or variables) that `changed` may refer to; never copied."""


def first_values(values: Mapping[str, Any], anchors: Sequence[Any], skip: Collection[str] = ()) -> dict[str, Any]:
    """Return copies of what can be copied, taken right after construction.

    `anchors` are shared objects that stay themselves in every copy. Names in `skip`, and values that
    cannot be copied (locks, modules, open files), are left out of everything that follows.
    """
    return {
        name: copied
        for name, value in values.items()
        if name not in skip and (copied := _copied(value, anchors, anchors)) is not _NOT_COPIED
    }


def save(
    values: Mapping[str, Any], first: Mapping[str, Any], anchors: Sequence[Any], skip: Collection[str]
) -> SavedValues:
    """Return what differs from `first`, copied; what appeared since counts as changed."""
    changed: dict[str, Any] = {}
    names = set(first)
    for name, value in values.items():
        if name in skip or (name in first and _same(value, first[name])):
            continue
        copied = _copied(value, anchors, anchors)
        if copied is not _NOT_COPIED:
            changed[name] = copied
            names.add(name)
    names -= first.keys() - values.keys()
    return SavedValues(changed, frozenset(names), tuple(anchors))


def restore(
    values: MutableMapping[str, Any],
    saved: SavedValues,
    first: Mapping[str, Any],
    anchors: Sequence[Any],
    skip: Collection[str],
) -> None:
    """Bring `values` back to `saved`, taking from `first` whatever had not changed then.

    `first` and `anchors` are the restoring instance's own; they may be those of another instance than
    the one that saved. Names that did not exist when saving are removed where construction did not
    make them either.
    """
    for name in [name for name in values if name not in saved.names and name not in first and name not in skip]:
        if _copied(values[name], anchors, anchors) is not _NOT_COPIED:
            del values[name]
    for name, value in first.items():
        if name not in saved.changed and name in saved.names and not _same(values.get(name, _NOT_COPIED), value):
            values[name] = _copied(value, anchors, anchors)
    for name, value in saved.changed.items():
        values[name] = _copied(value, saved.anchors, anchors)


class _NotCopied:
    """Type of the mark for a value that cannot be copied."""


_NOT_COPIED = _NotCopied()


def _copied(value: Any, old: Sequence[Any], new: Sequence[Any]) -> Any:
    """Return a deep copy in which every object of `old` is replaced by its counterpart in `new`."""
    if isinstance(value, bool | int | float | str | None):
        return value
    memo = {id(before): after for before, after in zip(old, new, strict=True)}
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # a lock, a generator, a compiled function: nothing that a checkpoint could hold either
        return _NOT_COPIED


def _same(left: Any, right: Any) -> bool:
    """Return whether two values are equal bit for bit; doubt counts as different."""
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, bool | int | float | complex | str | bytes | None):
        return bool(left == right)
    try:
        return bool(np.array_equal(np.asarray(left), np.asarray(right)))
    except Exception:  # no array, or one that lives on a device
        return False
