"""What an update of Optax brings for a recording: parameters, gradients and state by name, in what a trace can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from .arrays import HOST_DTYPES
from .optax_arrivals import Layout
from .optax_state import last_named, leaves_by_slot, names_by_path
from .option_names import ALIASES
from .protocol import Array


def canonical(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters under canonical names where there are some. Raises `ValueError` where two have the same.

    >>> canonical({"learning_rate": 0.1, "b1": 0.9, "clip": 1.0})
    {'lr': 0.1, 'beta1': 0.9, 'clip': 1.0}
    """
    found: dict[str, Any] = {}
    for name, value in hyperparameters.items():
        known = next((one for one, aliases in ALIASES.items() if name in aliases), name)
        if known in found:
            raise ValueError(f"hyperparameters: {name!r} is one more value for {known!r}; give one")
        found[known] = value
    return found


class UnrecordableUpdate(Exception):
    """Why an update cannot be recorded, in words for the user."""


def layout_of(params: Any) -> Layout:
    """The parameters that are recorded: those of floating point. Integers, booleans and random keys are left out."""
    names, shapes, dtypes = {}, {}, {}
    of_path = names_by_path(params)
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name, dtype = of_path[path], jax.numpy.result_type(leaf)
        if not jax.dtypes.issubdtype(dtype, np.inexact):
            continue
        if dtype.name not in HOST_DTYPES:
            raise UnrecordableUpdate(
                f"parameter {name!r} is {dtype.name}, but should be one of {', '.join(HOST_DTYPES)}"
            )
        names[path], shapes[name], dtypes[name] = name, tuple(np.shape(leaf)), dtype.name
    if not names:
        raise UnrecordableUpdate("there is no parameter of floating point")
    return Layout(names, shapes, dtypes)


def named(tree: Any, layout: Layout) -> dict[str, Any]:
    """The recorded leaves of a tree like the parameters, as arrays."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {layout.names[path]: jax.numpy.asarray(leaf) for path, leaf in leaves if path in layout.names}


def checked(gradients: Any, layout: Layout) -> dict[str, Any]:
    """Gradients in their parameters' dtypes. Raises `UnrecordableUpdate` where that would round them."""
    found = {}
    for name, gradient in named(gradients, layout).items():
        dtype = layout.dtypes[name]
        if not np.can_cast(gradient.dtype, HOST_DTYPES[dtype]):
            raise UnrecordableUpdate(
                f"the gradient of {name!r} is {gradient.dtype.name} and would be rounded to {dtype}, the parameter's"
            )
        found[name] = gradient.astype(dtype)
    return found


def aside(n_updates: Any, data: Any) -> Any:
    """The same values, for the host alone, such that XLA compiles the update as it would without a recording.

    XLA fuses the element-wise end of a gradient's computation into the update, and contracts multiplications and
    additions across the two, unless somebody else wants the gradient as a tensor: a callback that took the gradient
    itself changed bits of AdamW's path where the loss had an L2 term, and one that took theta itself, where several
    steps were unrolled in one program. A selection, or the gathering of a sample, is fused as the update is. That it
    always selects the value, XLA cannot know.
    """
    return jax.tree_util.tree_map(lambda each: jax.numpy.where(n_updates >= 0, each, jax.numpy.zeros_like(each)), data)


def slots(state: Any, layout: Layout) -> dict[str, dict[str, Any]]:
    """What the state has for recorded parameters, of the dtypes that a trace can hold: slot -> name -> array."""
    found = {}
    for slot, each in leaves_by_slot(state, layout.names).items():
        kept = {name: leaf for name, leaf in each.items() if jax.numpy.result_type(leaf).name in HOST_DTYPES}
        if kept:
            found[slot] = {name: jax.numpy.asarray(leaf) for name, leaf in kept.items()}
    return found


def count_in(state: Any, otherwise: Any) -> Any:
    """The first counter of updates in a state, `otherwise` where it has none."""
    counts = (leaf for leaf in last_named(state, "count") if np.shape(leaf) == ())
    whole = (leaf for leaf in counts if jax.dtypes.issubdtype(jax.numpy.result_type(leaf), np.integer))
    return next(whole, otherwise)


def manual_axes() -> bool:
    """Whether devices run this each for itself, as inside `shard_map`, as far as this JAX can tell."""
    mesh = getattr(jax.sharding, "get_abstract_mesh", None)
    return mesh is not None and bool(getattr(mesh(), "manual_axes", ()))


def dtypes_in(values: Any) -> Any:
    """The dtype of every leaf."""
    return jax.tree_util.tree_map(jax.numpy.result_type, values)


def in_words(values: Any) -> Any:
    """The same values for a callback, those of 64 bits as pairs of 32.

    Where 64 bits are on for the thread that traces alone, as in `with jax.enable_x64(True)`, JAX hands a callback
    float32 in place of float64: the thread that it calls from has them off.
    """

    def of(value: Any) -> Any:
        wide = jax.numpy.result_type(value).itemsize == 8
        return jax.lax.bitcast_convert_type(value, np.uint32) if wide else value

    return jax.tree_util.tree_map(of, values)


def on_host(values: Any, dtypes: Any) -> Any:
    """Copies in `dtypes`, out of words where they came as such: what JAX lends a callback may change after it."""

    def of(value: Any, dtype: Any) -> Array:
        copied = np.array(value)
        return copied if copied.dtype == dtype else copied.view(dtype)[..., 0]

    return jax.tree_util.tree_map(of, values, dtypes)
