"""The state of an Optax transformation, a tree: read by slot, kept in a snapshot, saved as NumPy arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from .jax_scope import Scope
from .protocol import Array

CANONICAL_STATE: Mapping[str, str] = {"mu": "m", "nu": "v", "nu_max": "v_max", "trace": "momentum"}
"""Field of an Optax state -> canonical slot. Other names stay."""


@dataclass(frozen=True, slots=True)
class OptaxSnapshot:
    """Parameters and state at one moment. JAX arrays never change, so nothing needs copying."""

    parameters: Mapping[str, Any]
    state: Any


@dataclass(frozen=True, slots=True)
class SavedState:
    """What a checkpoint holds: the leaves, copied to the host, and the tree that they hang in."""

    leaves: tuple[Any, ...]
    structure: Any


def slots_of(state: Any, names: Collection[str]) -> dict[str, dict[str, Array]]:
    """Return copies of every field of the state that is a tree like the parameters: slot -> name -> array.

    A field name met again gets a number: `momentum`, `momentum_2`.
    """
    slots: dict[str, dict[str, Array]] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        field, name = _field_and_parameter(path)
        if field is None or name not in names:
            continue
        slot = base = CANONICAL_STATE.get(field, field)
        number = 1
        while name in slots.get(slot, {}):
            number += 1
            slot = f"{base}_{number}"
        slots.setdefault(slot, {})[name] = np.array(leaf)
    return slots


def merged(own: Any, other: Any, kept: frozenset[str]) -> Any:
    """Return the state `other` with the injected hyperparameters `kept` of `own`. Raises `ValueError` if unlike."""
    mine, structure = jax.tree_util.tree_flatten_with_path(own)
    theirs = jax.tree_util.tree_leaves(other)
    leaves = [leaf if is_injected(path, kept) else new for (path, leaf), new in zip(mine, theirs, strict=True)]
    return jax.tree_util.tree_unflatten(structure, leaves)


def saved(state: Any) -> SavedState:
    """Return the state's leaves as copies on the host."""
    leaves, structure = jax.tree_util.tree_flatten(state)
    return SavedState(tuple(_on_host(leaf) for leaf in leaves), structure)


def loaded(state: SavedState, own: Any, scope: Scope) -> Any:
    """Return `state` on the device, in place of `own`.

    Raises `ValueError` where the tree, or the shape or dtype of a leaf, is another than that of `own`.
    """
    mine, structure = jax.tree_util.tree_flatten(own)
    if state.structure != structure:
        raise ValueError(f"the saved state is {state.structure}, but this transformation's is {structure}.")
    for number, (found, leaf) in enumerate(zip(state.leaves, mine, strict=True)):
        expected = _on_host(leaf)
        if (np.shape(found), np.asarray(found).dtype) != (np.shape(expected), np.asarray(expected).dtype):
            raise ValueError(
                f"leaf {number} of the saved state is {np.asarray(found).dtype}{np.shape(found)}, "
                f"but should be {np.asarray(expected).dtype}{np.shape(expected)}."
            )
    leaves = [
        jax.random.wrap_key_data(new, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else new
        for new, leaf in zip(scope.put_leaves(list(state.leaves)), mine, strict=True)
    ]
    return jax.tree_util.tree_unflatten(structure, leaves)


def is_injected(path: tuple[Any, ...], names: frozenset[str]) -> bool:
    """Return whether a leaf is a hyperparameter of one of `names` in a state of `optax.inject_hyperparams`."""
    field, key = _field_and_parameter(path) if path else (None, None)
    return field == "hyperparams" and key in names


def _field_and_parameter(path: tuple[Any, ...]) -> tuple[str | None, Any]:
    """Return the innermost field name along a key path, and the dictionary key that ends it."""
    fields = [str(key.name) for key in path if hasattr(key, "name")]
    return (fields[-1] if fields else None), getattr(path[-1], "key", None)


def _is_key(leaf: Any) -> bool:
    """Return whether a leaf is a typed random key, which no file holds as it is."""
    return hasattr(leaf, "dtype") and bool(jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _on_host(leaf: Any) -> Any:
    """Return a leaf as a NumPy array, a Python number as it is."""
    if isinstance(leaf, int | float):
        return leaf
    return np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
