"""Finding the model that an optimizer trains, where nobody says which one it is."""

from __future__ import annotations

import gc
from typing import Any

import torch

_WRAPPERS = {
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
}
"""Modules that stand for another one -> under which name they hold it: it is no part of its parameters' names."""


def model_of(optimizer: Any) -> Any:
    """The outermost `torch.nn.Module` that holds most of the optimizer's parameters; None where none holds any.

    It is looked for among all objects of the process, 80 ms for the 290,000 of a small script.
    """
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    modules = [
        each for each in gc.get_objects() if issubclass(type(each), torch.nn.Module) and "_modules" in vars(each)
    ]
    inner = {id(child) for module in modules for child in module.children()}
    models = [module for module in modules if id(module) not in inner]

    def held(model: Any) -> int:
        return len(trained.intersection(map(id, model.parameters())))

    found = max(models, key=held, default=None)
    return None if found is None or not held(found) else _unwrapped(found)


def _unwrapped(model: Any) -> Any:
    while (name := _WRAPPERS.get(f"{type(model).__module__}.{type(model).__qualname__}")) is not None:
        model = getattr(model, name)
    return model
