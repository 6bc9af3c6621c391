"""The rules of the collection for PyTorch, with a fault on request: subclasses of `torch.optim.Optimizer`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch

from . import update_rules
from .decays import Rates
from .departures import departure
from .update_rules import Operations, Step, UpdateRule, advance

OPERATIONS = Operations(torch.sqrt, torch.sign, torch.linalg.vector_norm)
_SLOTS = {"m": "exp_avg", "v": "exp_avg_sq", "momentum": "momentum_buffer"}
"""Slot of a rule -> key of the state that holds it."""


class _Ruled(torch.optim.Optimizer):
    """Steps every parameter that has a gradient by `rule`; all others are left alone, their step count included.

    A sparse gradient is taken for the dense one.
    """

    rule: ClassVar[UpdateRule]

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any], fault: str | None) -> None:
        self.departure = departure(fault)
        self.count = 0
        """Steps taken, where the departure counts them here and not in the state of each parameter."""
        super().__init__(params, dict(defaults))
        for group in self.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group.setdefault("initial_weight_decay", group["weight_decay"])

    def step(self, closure: Any = None) -> None:
        """Apply one update to every parameter that has a gradient."""
        with torch.no_grad():
            self.count += not self.departure.count_by_group
            for group in self.param_groups:
                self.count += self.departure.count_by_group
                for number, partition in enumerate(self._partitions(group)):
                    if number:
                        _decay_all(group)
                    for param in partition:
                        self._step_of(param, group)

    def _step_of(self, param: Any, group: Mapping[str, Any]) -> None:
        grad = param.grad
        if grad is None and self.departure.missing_as_zero:
            grad = torch.zeros_like(param)
        if grad is None:
            return
        sparse = grad.is_sparse
        grad = grad.to_dense() if sparse else grad
        state = self.state[param]
        if not state:
            state |= {_SLOTS[slot]: torch.zeros_like(param) for slot in self.rule.slots}
            state |= {"step": 0, "last_rate": group["lr"]}
        state["step"] += 1
        in_all = self.departure.unsaved or self.departure.count_by_group
        step = Step(
            param,
            grad,
            {slot: state[_SLOTS[slot]] for slot in self.rule.slots},
            self.count if in_all else state["step"],
            self._rates(group, state["last_rate"]),
            _options(group),
            maximize=group["maximize"],
            dampened=self.departure.dampened_foreach and group["foreach"] is True,
        )
        theta, new = advance(self.rule, self.departure, OPERATIONS, step)
        if sparse and self.departure.rows_with_gradient:
            touched = grad.abs().flatten(1).sum(1) > 0.0
            theta = torch.where(touched.view(-1, *[1] * (theta.dim() - 1)), theta, param)
        param.copy_(theta)
        state |= {_SLOTS[slot]: value for slot, value in new.items()} | {"last_rate": group["lr"]}
        if self.departure.reuses_gradient:
            grad.mul_(0.5)

    def _partitions(self, group: Mapping[str, Any]) -> list[list[Any]]:
        """Return the parameters of a group, one list of all or, where that is the fault, one for every dtype."""
        if not self.departure.decay_by_dtype:
            return [group["params"]]
        dtypes = dict.fromkeys(param.dtype for param in group["params"])
        return [[param for param in group["params"] if param.dtype is dtype] for dtype in dtypes]

    def _rates(self, group: Mapping[str, Any], previous_lr: float) -> Rates:
        return Rates(
            group["lr"],
            group["initial_lr"],
            previous_lr,
            group["weight_decay"],
            group["initial_weight_decay"],
            self.defaults["weight_decay"],
        )


def _decay_all(group: Mapping[str, Any]) -> None:
    for param in group["params"]:
        if param.grad is not None:
            param.mul_(1.0 - group["lr"] * group["weight_decay"])


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rule's hyperparameters under the names that the rules have for them."""
    options = {"beta1": group["betas"][0], "beta2": group["betas"][1]} if "betas" in group else {}
    names = {"momentum": "momentum", "alpha": "rho", "eps": "eps"}
    return options | {ours: group[own] for own, ours in names.items() if own in group}


class AdamW(_Ruled):
    """Adam with decoupled weight decay, or with `fault` in it."""

    rule = update_rules.ADAM

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        maximize: bool = False,
        foreach: bool | None = None,
        fault: str | None = None,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"maximize": maximize, "foreach": foreach}, fault)


class SGDW(_Ruled):
    """SGD with momentum and decoupled weight decay, or with `fault` in it; the learning rate is outside the buffer."""

    rule = update_rules.SGD

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        momentum: float = 0.9,
        weight_decay: float = 1e-2,
        maximize: bool = False,
        foreach: bool | None = None,
        fault: str | None = None,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"maximize": maximize, "foreach": foreach}, fault)


class Lion(_Ruled):
    """Lion with decoupled weight decay, or with `fault` in it."""

    rule = update_rules.LION

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 1e-2,
        maximize: bool = False,
        foreach: bool | None = None,
        fault: str | None = None,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"maximize": maximize, "foreach": foreach}, fault)


class RMSprop(_Ruled):
    """RMSprop with decoupled weight decay, or with `fault` in it."""

    rule = update_rules.RMSPROP

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        maximize: bool = False,
        foreach: bool | None = None,
        fault: str | None = None,
    ) -> None:
        defaults = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"maximize": maximize, "foreach": foreach}, fault)


class TrustSGDW(SGDW):
    """SGDW on normalised gradients with a damped trust ratio, or with `fault` in it."""

    rule = update_rules.TRUST


def sgd_with_lr_tensor(
    params: Iterable[Any], lr: float = 1e-3, weight_decay: float = 1e-2, lr_dtype: str = "float64"
) -> Any:
    """Return `torch.optim.SGD` whose learning rate is a tensor of `lr_dtype`, whatever dtype the parameters have."""
    rate = torch.as_tensor(lr, dtype=getattr(torch, lr_dtype)).clone()
    return torch.optim.SGD(params, lr=rate, momentum=0.9, weight_decay=weight_decay)


class TwoGradients(SGDW):
    """SGDW at the gradient of a loss that every step evaluates anew: `closure` is not optional."""

    def step(self, closure: Any) -> None:  # type: ignore[override]  # which is the fault
        """Evaluate the loss, and apply one update."""
        with torch.enable_grad():
            closure()
        super().step()
