"""optax 0.2.8, contrib.prodigy and contrib.dadapt_adamw: zero gradients in the first step make the parameters NaN.

The distance estimate is divided by a sum that is still zero. Found as OC409 non-finite: optconform audit
optax.contrib:prodigy
"""

import jax.numpy as jnp
import optax
import optax.contrib

for factory in (optax.contrib.prodigy, optax.contrib.dadapt_adamw):
    optimizer = factory()
    theta = jnp.ones(3)
    state = optimizer.init(theta)
    for _ in range(3):
        updates, state = optimizer.update(jnp.zeros(3), state, theta)
        theta = optax.apply_updates(theta, updates)
    print(factory.__name__, "after three steps over zeros, which should leave ones almost as they were:", theta)
