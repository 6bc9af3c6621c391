"""Calling the constructor of a PyTorch target, and finding out what it refuses: a path, or parameter groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .errors import BuildFailed, NotSupported, StepFailed, foreign_code
from .layouts import Part
from .options import lacking_hint, names_of
from .protocol import Target
from .recipes import first_argument, recipe_of
from .text import escape_control
from .torch_groups import decay_key_of, entries_of, handed_over, require_groups
from .torch_optimizer import needs_closure
from .torch_paths import not_taken, path_named


def construct(target: Target, handed: list[Any], arguments: Mapping[str, Any]) -> Any:
    """Return what the target makes of `handed`, tensors or groups of them, with what its recipe adds.

    Raises `BuildFailed`.
    """
    spec = escape_control(target.spec)
    recipe = recipe_of(target)
    with foreign_code(BuildFailed, f"{spec}: the constructor", lambda: lacking_hint(target, arguments)):
        built = target.attribute(first_argument(recipe, handed), **arguments)
        if recipe.call is not None:
            getattr(built, recipe.call)()
    if not callable(getattr(built, "step", None)):
        raise BuildFailed(
            f"{spec} returned {escape_control(type(built).__name__)}, "
            "which has no step(); a torch target returns an optimizer."
        )
    return built


def construct_in_groups(
    target: Target, parts: Sequence[Part], tensors: Mapping[str, Any], arguments: Mapping[str, Any]
) -> Any:
    """Return the target built over one parameter group for each part, in that order.

    Raises `NotSupported` where it can be built over one list but not so, or holds no weight decay to switch off.
    """
    plain = construct(target, _spares(tensors), arguments)
    decay_key = decay_key_of(target, plain) if any(part.undecayed for part in parts) else None
    try:
        built = construct(target, handed_over(parts, tensors, decay_key), arguments)
    except BuildFailed as refused:
        raise NotSupported(f"parameter groups are more than the target takes: {refused}") from refused
    require_groups(target, built, tensors.values())
    return built


def require_path(
    target: Target,
    path: str | None,
    tensors: Mapping[str, Any],
    plain: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> None:
    """Raise `PathNotTaken` unless the target, over copies of `tensors`, takes `arguments`, those of `path`.

    Raises `BuildFailed` where it does not take the `plain` ones either: then the path is not to blame.
    """
    way = path_named(path)
    spares = _spares(tensors)
    try:
        built = construct(target, spares, arguments)
    except BuildFailed as refused:
        construct(target, _spares(tensors), plain)
        raise not_taken(target, path, str(refused)) from refused
    if way.tensor_lr:
        require_tensor_lr(target, path, built)
    if way.tried and not needs_closure(built):
        for spare in spares:
            spare.grad = torch.zeros_like(spare)
        try:
            with foreign_code(StepFailed, "step()"):
                built.step()
        except StepFailed as refused:
            raise not_taken(target, path, str(refused)) from refused


def require_tensor_lr(target: Target, path: str | None, built: Any) -> None:
    """Raise `PathNotTaken` unless `built` still holds as a tensor the learning rate that it was given as one."""
    if not any(isinstance(rate, torch.Tensor) for rate in entries_of(built, names_of(target, "lr"))):
        raise not_taken(target, path, "it turns a learning rate given as a tensor into a number")


def _spares(tensors: Mapping[str, Any]) -> list[Any]:
    """Return copies of the parameters, for an instance that is thrown away."""
    return [
        torch.nn.Parameter(tensor.detach().clone(), requires_grad=tensor.requires_grad) for tensor in tensors.values()
    ]
