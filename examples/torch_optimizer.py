"""A hand-written PyTorch optimizer with a common mistake: weight decay goes through Adam's moments.

optconform audit examples/torch_optimizer.py:Adam2 --expect l2
optconform audit examples/torch_optimizer.py:Adam2 --set decoupled=True
"""

from __future__ import annotations

import torch


class Adam2(torch.optim.Optimizer):
    """Adam with one switch: `decoupled` takes the decay out of the gradient."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, decoupled=False):
        """Take the parameters and the usual hyperparameters."""
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "decoupled": decoupled}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure=None):
        """Apply one update to every parameter that has a gradient."""
        for group in self.param_groups:
            lr, decay, (beta1, beta2) = group["lr"], group["weight_decay"], group["betas"]
            for theta in group["params"]:
                if theta.grad is None:
                    continue
                state = self.state[theta]
                if not state:
                    state.update(step=0, exp_avg=torch.zeros_like(theta), exp_avg_sq=torch.zeros_like(theta))
                state["step"] += 1
                grad = theta.grad
                if group["decoupled"]:
                    theta.mul_(1 - lr * decay)
                else:
                    grad = grad + decay * theta
                m = state["exp_avg"].lerp_(grad, 1 - beta1)
                v = state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
                m_hat = m / (1 - beta1 ** state["step"])
                v_hat = v / (1 - beta2 ** state["step"])
                theta.sub_(lr * m_hat / (v_hat.sqrt() + group["eps"]))
