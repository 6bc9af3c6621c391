"""Sound Optax compositions that the reference does not know, or that evaluate its rules in another order."""

from __future__ import annotations

from typing import Any

import optax


def adamw_decayed_last(
    learning_rate: Any,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> Any:
    """AdamW with the sign and the rate applied first, and the decay, scaled by the rate, added to the update."""

    def init(params: Any) -> Any:
        return adam.init(params)

    def update(updates: Any, state: Any, params: Any) -> tuple[Any, Any]:
        count = state[0].count
        stepped, state = adam.update(updates, state, params)
        decay = optax.tree.scale(-learning_rate(count) * weight_decay, params)
        return optax.tree.add(stepped, decay), state

    adam = optax.chain(
        optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
        optax.scale_by_learning_rate(learning_rate),
    )
    return optax.GradientTransformation(init, update)


def rmsprop_decoupled(learning_rate: Any, weight_decay: float = 1e-2) -> Any:
    """RMSprop with decoupled decay."""
    return optax.chain(
        optax.scale_by_rms(),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def rmsprop_l2(learning_rate: Any, weight_decay: float = 1e-2) -> Any:
    """RMSprop with L2."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_rms(),
        optax.scale_by_learning_rate(learning_rate),
    )


def clipped_sgdw(learning_rate: Any, weight_decay: float = 1e-2, momentum: float = 0.9) -> Any:
    """SGDW on gradients clipped by their global norm: parameters act on each other, decay does not."""
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.trace(decay=momentum),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
