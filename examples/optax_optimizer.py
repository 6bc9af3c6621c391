"""Two hand-written Optax optimizers: the order of a chain decides whether decay shrinks or grows the weights.

optconform audit examples/optax_optimizer.py:sgdw
optconform audit examples/optax_optimizer.py:growing --expect any     # exit 1: OC106
"""

from __future__ import annotations

import optax


def sgdw(learning_rate, weight_decay=1e-2, momentum=0.9):
    """SGD with momentum and decoupled decay: decay joins after the momentum and before the rate."""
    return optax.chain(
        optax.trace(decay=momentum),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def growing(learning_rate, weight_decay=1e-2):
    """The mistake: after `sgd` the sign is turned already, and the weights grow by the decay."""
    return optax.chain(optax.sgd(learning_rate), optax.add_decayed_weights(weight_decay))
