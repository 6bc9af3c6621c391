"""Optimizers composed from Optax's parts, for rules that Optax has no ready factory of.

The place of `add_decayed_weights` in the chain decides what the decay is: before the moments it is L2,
after them and before the learning rate it is decoupled with law lr * weight_decay.
"""

from __future__ import annotations

from typing import Any

import optax


def sgd_l2(learning_rate: Any, weight_decay: float = 0.0, momentum: float = 0.9, nesterov: bool = False) -> Any:
    """SGD with momentum and L2: g <- g + wd*theta; b <- momentum*b + g; theta <- theta - lr*b."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov),
    )


def sgdw(learning_rate: Any, weight_decay: float = 0.0, momentum: float = 0.9, nesterov: bool = False) -> Any:
    """SGD with momentum and decoupled decay: b <- momentum*b + g; theta <- theta - lr*(b + wd*theta)."""
    return optax.chain(
        optax.trace(decay=momentum, nesterov=nesterov),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def adam_l2(
    learning_rate: Any, weight_decay: float = 0.0, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> Any:
    """Adam with L2: g <- g + wd*theta enters both moments; theta <- theta - lr*mhat/(sqrt(vhat) + eps)."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
        optax.scale_by_learning_rate(learning_rate),
    )
