"""Sound PyTorch optimizers that do not look like the reference: other evaluation orders, other update rules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch


class _Adam(torch.optim.Optimizer):
    """Options and moments that the forms below share."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _advanced(self, group: dict[str, Any]) -> list[tuple[Any, dict[str, Any]]]:
        """Return the parameters of `group` that have a gradient, with their state, the step counted."""
        found = []
        for param in group["params"]:
            if param.grad is None:
                continue
            state = self.state[param]
            if not state:
                state |= {"step": 0, "exp_avg": torch.zeros_like(param), "exp_avg_sq": torch.zeros_like(param)}
            state["step"] += 1
            found.append((param, state))
        return found


class AdamWInPlace(_Adam):
    """AdamW with in-place interpolation and fused products: `lerp_`, `addcmul_`, `addcdiv_`."""

    def step(self, closure: Any = None) -> None:
        """Apply one update."""
        with torch.no_grad():
            for group in self.param_groups:
                (beta1, beta2), lr = group["betas"], group["lr"]
                for param, state in self._advanced(group):
                    param.mul_(1.0 - lr * group["weight_decay"])
                    state["exp_avg"].lerp_(param.grad, 1.0 - beta1)
                    state["exp_avg_sq"].mul_(beta2).addcmul_(param.grad, param.grad.conj(), value=1.0 - beta2)
                    root = math.sqrt(1.0 - beta2 ** state["step"])
                    denominator = (state["exp_avg_sq"].sqrt() / root).add_(group["eps"])
                    param.addcdiv_(state["exp_avg"], denominator, value=-lr / (1.0 - beta1 ** state["step"]))


class AdamWOutOfPlace(_Adam):
    """AdamW with new tensors everywhere, one sum at the end."""

    def step(self, closure: Any = None) -> None:
        """Apply one update."""
        with torch.no_grad():
            for group in self.param_groups:
                (beta1, beta2), lr = group["betas"], group["lr"]
                for param, state in self._advanced(group):
                    state["exp_avg"] = beta1 * state["exp_avg"] + (1.0 - beta1) * param.grad
                    state["exp_avg_sq"] = beta2 * state["exp_avg_sq"] + (1.0 - beta2) * param.grad.square()
                    m_hat = state["exp_avg"] / (1.0 - beta1 ** state["step"])
                    v_hat = state["exp_avg_sq"] / (1.0 - beta2 ** state["step"])
                    direction = m_hat / (v_hat.sqrt() + group["eps"]) + group["weight_decay"] * param
                    param.copy_(param - lr * direction)


class AdamWForeach(_Adam):
    """AdamW over all parameters at once, with `torch._foreach_*`; the step count of each its own."""

    def step(self, closure: Any = None) -> None:
        """Apply one update."""
        with torch.no_grad():
            for group in self.param_groups:
                (beta1, beta2), lr = group["betas"], group["lr"]
                pairs = self._advanced(group)
                if not pairs:
                    continue
                params = [param for param, _ in pairs]
                grads = [param.grad for param in params]
                m, v = ([state[slot] for _, state in pairs] for slot in ("exp_avg", "exp_avg_sq"))
                torch._foreach_mul_(params, 1.0 - lr * group["weight_decay"])
                torch._foreach_lerp_(m, grads, 1.0 - beta1)
                torch._foreach_mul_(v, beta2)
                torch._foreach_addcmul_(v, grads, grads, 1.0 - beta2)
                denominators = torch._foreach_sqrt(v)
                torch._foreach_div_(denominators, [math.sqrt(1.0 - beta2 ** state["step"]) for _, state in pairs])
                torch._foreach_add_(denominators, group["eps"])
                sizes = [-lr / (1.0 - beta1 ** state["step"]) for _, state in pairs]
                torch._foreach_addcdiv_(params, m, denominators, sizes)


class Lion(_Adam):
    """Lion: the sign of an interpolation, decay decoupled."""

    def step(self, closure: Any = None) -> None:
        """Apply one update."""
        with torch.no_grad():
            for group in self.param_groups:
                beta1, beta2 = group["betas"]
                for param, state in self._advanced(group):
                    param.mul_(1.0 - group["lr"] * group["weight_decay"])
                    param.add_(torch.sign(state["exp_avg"].lerp(param.grad, 1.0 - beta1)), alpha=-group["lr"])
                    state["exp_avg"].lerp_(param.grad, 1.0 - beta2)


class NormalisedSGDW(_Adam):
    """Momentum divided by its own length, decay decoupled: the step of an element depends on the others."""

    def step(self, closure: Any = None) -> None:
        """Apply one update."""
        with torch.no_grad():
            for group in self.param_groups:
                for param, state in self._advanced(group):
                    state["exp_avg"].mul_(group["betas"][0]).add_(param.grad)
                    length = state["exp_avg"].norm() + group["eps"]
                    param.sub_(group["lr"] * (state["exp_avg"] / length + group["weight_decay"] * param))
