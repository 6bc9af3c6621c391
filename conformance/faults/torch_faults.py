"""AdamW, SGDW and a trust ratio for PyTorch with a fault on request: subclasses of `torch.optim.Optimizer`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from .decays import Rates
from .departures import SMALLEST_LENGTH, departure


class AdamW(torch.optim.Optimizer):
    """Adam with decoupled weight decay (`departures`), or with `fault` in it.

    A parameter whose `grad` is None is left alone, its step count included.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        fault: str | None = None,
    ) -> None:
        self.rule = departure(fault)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "initial_lr": lr})

    def step(self, closure: Any = None) -> None:
        """Apply one update to every parameter that has a gradient."""
        with torch.no_grad():
            rule = self.rule
            for group in self.param_groups:
                lr, weight_decay = group["lr"], group["weight_decay"]
                beta1, beta2 = rule.betas(*group["betas"])
                for param in group["params"]:
                    if param.grad is None:
                        continue
                    state = self.state[param]
                    if not state:
                        state |= {"step": 0, "exp_avg": torch.zeros_like(param), "exp_avg_sq": torch.zeros_like(param)}
                        state["last_rate"] = lr
                    state["step"] += 1
                    grad = rule.gradient(param.grad, param, weight_decay)
                    state["exp_avg"].mul_(beta1).add_(grad, alpha=1.0 - beta1)
                    state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
                    c1, c2 = rule.corrections(beta1, beta2, state["step"])
                    denominator = rule.denominator(state["exp_avg_sq"], c2, group["eps"], torch.sqrt)
                    update = lr * (state["exp_avg"] / c1) / denominator
                    rates = Rates(lr, group["initial_lr"], state["last_rate"], weight_decay)
                    param.copy_(rule.decay(param, -update if rule.ascent else update, rule.coefficient(rates)))
                    state["last_rate"] = lr


class SGDW(torch.optim.Optimizer):
    """SGD with momentum and decoupled weight decay (`departures`), or with `fault` in it.

    The learning rate is outside the buffer. A parameter whose `grad` is None is left alone.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        momentum: float = 0.9,
        weight_decay: float = 1e-2,
        fault: str | None = None,
    ) -> None:
        self.rule = departure(fault)
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "initial_lr": lr})

    def step(self, closure: Any = None) -> None:
        """Apply one update to every parameter that has a gradient."""
        with torch.no_grad():
            rule = self.rule
            for group in self.param_groups:
                lr, weight_decay = group["lr"], group["weight_decay"]
                for param in group["params"]:
                    if param.grad is None:
                        continue
                    state = self.state[param]
                    if not state:
                        state |= {"momentum_buffer": torch.zeros_like(param), "last_rate": lr}
                    direction = self.direction(rule.gradient(param.grad, param, weight_decay))
                    grad = rule.entering(direction, param, weight_decay)
                    buffer = state["momentum_buffer"].mul_(group["momentum"])
                    buffer.add_(grad, alpha=lr if rule.lr_inside else 1.0)
                    update = buffer if rule.lr_inside else lr * self.trust(param) * buffer
                    rates = Rates(lr, group["initial_lr"], state["last_rate"], weight_decay)
                    param.copy_(rule.decay(param, -update if rule.ascent else update, rule.coefficient(rates)))
                    state["last_rate"] = lr

    def direction(self, grad: Any) -> Any:
        """Return the gradient as it is."""
        return grad

    def trust(self, param: Any) -> Any:
        """Return 1: steps do not depend on the parameters."""
        return 1.0


class TrustSGDW(SGDW):
    """SGDW on normalised gradients with a capped trust ratio (`departures`), or with `fault` in it."""

    def direction(self, grad: Any) -> Any:
        """Return g / |g|."""
        return grad / (grad.norm() + SMALLEST_LENGTH)

    def trust(self, param: Any) -> Any:
        """Return min(|theta|, 1)."""
        return param.norm().clamp(max=1.0)


def sgd_with_lr_tensor(
    params: Iterable[Any], lr: float = 1e-3, weight_decay: float = 1e-2, lr_dtype: str = "float64"
) -> Any:
    """Return `torch.optim.SGD` whose learning rate is a tensor of `lr_dtype`, whatever dtype the parameters have."""
    rate = torch.tensor(lr, dtype=getattr(torch, lr_dtype))
    return torch.optim.SGD(params, lr=rate, momentum=0.9, weight_decay=weight_decay)
