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

    The parameters are a dictionary with these names; the slots those of `leaves_by_slot`.
    """
    found = leaves_by_slot(state, {(jax.tree_util.DictKey(name),): name for name in names})
    return {slot: {name: np.array(leaf) for name, leaf in each.items()} for slot, each in found.items()}


def leaves_by_slot(state: Any, names: Mapping[tuple[Any, ...], str]) -> dict[str, dict[str, Any]]:
    """Return every field of the state that is a tree like the parameters: slot -> name -> leaf, as it is.

    `names` are those of the parameters by their key paths. A slot is called by the field's canonical name; one met
    again gets a number: `momentum`, `momentum_2`. Hyperparameters that are held in the state are no slots.
    """
    slots: dict[str, dict[str, Any]] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        begin = next((at for at in range(1, len(path) + 1) if path[at:] in names), len(path))
        fields = [str(key.name) for key in path[:begin] if hasattr(key, "name")]
        if path[begin:] not in names or not fields or fields[-1] == "hyperparams":
            continue
        name = names[path[begin:]]
        slot = base = CANONICAL_STATE.get(fields[-1], fields[-1])
        number = 1
        while name in slots.get(slot, {}):
            number += 1
            slot = f"{base}_{number}"
        slots.setdefault(slot, {})[name] = leaf
    return slots


def names_by_path(tree: Any) -> dict[tuple[Any, ...], str]:
    """Return a readable name for the key path of every leaf, as `block/dense/kernel`, each once.

    Where two paths would read the same, all are written as JAX writes them, as `['block']['dense']['kernel']`.
    """
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    names = ["/".join(str(_key(key)) for key in path) or "params" for path in paths]
    if len(set(names)) < len(names) or not all(names):
        names = [jax.tree_util.keystr(path) for path in paths]
    return dict(zip(paths, names, strict=True))


def last_named(state: Any, field: str) -> list[Any]:
    """Return the leaves of the state that are fields called `field`, in order."""
    flat = jax.tree_util.tree_flatten_with_path(state)[0]
    return [leaf for path, leaf in flat if path and getattr(path[-1], "name", None) == field]


def hyperparameters_of(state: Any) -> dict[str, Any]:
    """Return the numbers that `optax.inject_hyperparams` keeps in the state, by its names.

    Raises `ValueError` where there are two of a name.
    """
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        field, key = _field_and_parameter(path) if path else (None, None)
        if field != "hyperparams" or np.shape(leaf) != ():
            continue
        if key in found:
            raise ValueError(
                f"several optax.inject_hyperparams have a {key!r}, each for parameters of its own; record each of the "
                "rules by itself"
            )
        found[str(key)] = leaf
    return found


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


def _key(key: Any) -> Any:
    """Return what a key of a key path is, whichever kind it is of."""
    return next((getattr(key, kind) for kind in ("key", "name", "idx") if hasattr(key, kind)), key)


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
