"""The ways in which PyTorch executes a step, as data, and whether a target takes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .errors import PathNotTaken, UnknownOption
from .options import accepts, default_of, own_name
from .protocol import Target
from .text import escape_control


@dataclass(frozen=True, slots=True)
class Path:
    """One way of executing a step."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Constructor options that choose it. Those that are False are left out where the target lacks them."""
    tensor_lr: bool = False
    """Whether the learning rate is handed over as a 0-d tensor, which every step fills."""
    requires_grad: bool = True
    """Whether parameters require gradients; a differentiable step may not change leaves that do."""
    compiled: bool = False
    tried: bool = False
    """Whether one step on copies shows first if target and device take it: torch tells only then."""
    scalars_in: str | None = None
    """dtype in which beta**t is formed: on some paths from the step count, a tensor that torch.optim keeps in float32.

    In float64, AdamW's parameters are 5e-7 away from the default path's after two steps of size 0.05.
    """


PATHS: Mapping[str, Path] = {
    "default": Path(),
    "loop": Path({"foreach": False, "fused": False}),
    "foreach": Path({"foreach": True}),
    "fused": Path({"fused": True}),
    "capturable": Path({"capturable": True}, tried=True, scalars_in="float32"),
    "differentiable": Path({"differentiable": True}, requires_grad=False, tried=True, scalars_in="float32"),
    "tensor-lr": Path(tensor_lr=True, tried=True),
    # A Python number is a constant of the compiled code: it would be compiled again for every learning rate, and
    # after eight of them run uncompiled without a word.
    "compiled": Path(tensor_lr=True, compiled=True, scalars_in="float32"),
}
"""By name. `loop` is the plain implementation: a target that has no `foreach` and no `fused` has no other."""


def path_named(path: str | None) -> Path:
    """Return the path, the first for None. Raises `UnknownOption` with those there are."""
    if path is None:
        return next(iter(PATHS.values()))
    if path not in PATHS:
        raise UnknownOption(f"torch has no path {path!r}; expected one of {', '.join(PATHS)}.")
    return PATHS[path]


def path_options(target: Target, path: str | None, hyperparameters: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Return the constructor options that put `target` on `path`.

    Raises `PathNotTaken` where the target has no such option, or no number as its learning rate.
    """
    way = path_named(path)
    lacking = next((name for name, value in way.options.items() if value and not accepts(target, name)), None)
    if lacking is not None:
        raise not_taken(target, path, f"there is no option {lacking!r}")
    options = {name: value for name, value in way.options.items() if value or accepts(target, name)}
    if way.tensor_lr:
        options |= tensor_lr(target, path, hyperparameters, dtype)
    return options


def not_taken(target: Target, path: str | None, why: str) -> PathNotTaken:
    """Return the error that says why `target` cannot be executed on `path`."""
    return PathNotTaken(f"{escape_control(target.spec)} does not take the path {path!r}: {why}.")


def _given_as(target: Target, hyperparameters: Mapping[str, Any]) -> str:
    """Return the name under which `hyperparameters` hold the learning rate: canonical or the target's own."""
    own = own_name(target, "lr")
    return own if own in hyperparameters and own is not None else "lr"


def tensor_lr(
    target: Target, path: str | None, hyperparameters: Mapping[str, Any], dtype: str, place: str = "cpu"
) -> dict[str, Any]:
    """Return the option for the learning rate, under the name that `hyperparameters` use, as a 0-d tensor on `place`.

    Raises `PathNotTaken` where the target has no such option, or holds no number in it.
    """
    if not accepts(target, "lr"):
        raise not_taken(target, path, "there is no option for the learning rate")
    name = _given_as(target, hyperparameters)
    lr = hyperparameters.get(name, default_of(target, "lr"))
    if isinstance(lr, torch.Tensor):
        return {name: lr.to(place)}
    if isinstance(lr, bool) or not isinstance(lr, int | float):
        raise not_taken(target, path, f"lr is {escape_control(repr(lr))}, but should be a number; set one")
    # Of the parameters' precision, but no less than float32, as a user's torch.tensor(1e-3) is.
    precision = torch.float64 if dtype == "float64" else torch.float32
    return {name: torch.tensor(float(lr), dtype=precision, device=place)}
