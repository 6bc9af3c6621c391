"""Record `char_transformer`: a character transformer with tied embeddings, trained in JAX with Optax."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import heapq
import io
from typing import Any

import numpy as np
from recording import N_STEPS, Array, as_trace, multipliers, scaled_normal

from optconform.conformance.traces import MemoryTrace
from optconform.reference.schedules import linear_warmup

SEED = 20261124
BATCH_SIZE = 16
CONTEXT = 24
WIDTH = 16
HEADS = 2
WARM_UP = 10
OPTIMIZER = {"learning_rate": 0.01, "b1": 0.9, "b2": 0.99, "eps": 1e-8, "weight_decay": 0.01}
TEXT_SHA256 = "070f77715e9895ef7061e5763953bfe496b5e861e7aa0cd595cbf017924aa2b6"


def text() -> str:
    """Two texts of the standard library that have long stayed the same: the poem in `this`, the essay in `heapq`."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    result = codecs.decode(this.s, "rot13") + heapq.__about__
    digest = hashlib.sha256(result.encode()).hexdigest()
    if digest != TEXT_SHA256:
        raise RuntimeError(
            f"this.s and heapq.__about__ have the SHA-256 {digest}, but should have {TEXT_SHA256}: "
            "record with the Python version that the provenance of the shipped trace names"
        )
    return result


def _initial(rng: np.random.Generator, n_characters: int) -> dict[str, Array]:
    """theta_0; attention has no biases, since that of the keys has no gradient but rounding."""
    return {
        "embedding": scaled_normal(rng, (n_characters, WIDTH), WIDTH),
        "position": scaled_normal(rng, (CONTEXT, WIDTH), WIDTH),
        "attention/norm": np.ones(WIDTH, np.float32),
        "attention/query_key_value": scaled_normal(rng, (WIDTH, 3 * WIDTH), WIDTH),
        "attention/output": scaled_normal(rng, (WIDTH, WIDTH), WIDTH),
        "mlp/norm": np.ones(WIDTH, np.float32),
        "mlp/up": scaled_normal(rng, (WIDTH, 2 * WIDTH), WIDTH),
        "mlp/up_bias": np.zeros(2 * WIDTH, np.float32),
        "mlp/down": scaled_normal(rng, (2 * WIDTH, WIDTH), 2 * WIDTH),
        "mlp/down_bias": np.zeros(WIDTH, np.float32),
        "final_norm": np.ones(WIDTH, np.float32),
    }


def _loss(theta: dict[str, Any], characters: Any) -> Any:
    """Mean cross-entropy of the next character; `characters` int32 [batch, CONTEXT + 1]."""
    import jax
    import jax.numpy as jnp

    def normalize(x: Any, scale: Any) -> Any:
        return scale * x / jnp.sqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-5)

    def split_heads(x: Any) -> Any:
        return x.reshape(*x.shape[:-1], HEADS, WIDTH // HEADS)

    x = theta["embedding"][characters[:, :-1]] + theta["position"]
    projected = normalize(x, theta["attention/norm"]) @ theta["attention/query_key_value"]
    query, key, value = (split_heads(part) for part in jnp.split(projected, 3, axis=-1))
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(WIDTH // HEADS).astype(np.float32)
    weights = jax.nn.softmax(jnp.where(jnp.tril(jnp.ones((CONTEXT, CONTEXT), bool)), scores, -1e9))
    x = x + jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(x.shape) @ theta["attention/output"]
    hidden = jax.nn.gelu(normalize(x, theta["mlp/norm"]) @ theta["mlp/up"] + theta["mlp/up_bias"])
    x = x + hidden @ theta["mlp/down"] + theta["mlp/down_bias"]
    log_probabilities = jax.nn.log_softmax(normalize(x, theta["final_norm"]) @ theta["embedding"].T)
    return -jnp.mean(jnp.take_along_axis(log_probabilities, characters[:, 1:, None], axis=-1))


def record(n_steps: int = N_STEPS) -> MemoryTrace:
    """Train for `n_steps` and return every gradient that the optimizer was given, in float32."""
    import jax
    import jax.numpy as jnp
    import optax

    source = text()
    vocabulary = sorted(set(source))
    encoded = np.array([vocabulary.index(character) for character in source], np.int32)
    rng = np.random.Generator(np.random.PCG64(SEED))
    initial = _initial(rng, len(vocabulary))
    schedule = multipliers(linear_warmup(WARM_UP), n_steps)
    rates = jnp.asarray([OPTIMIZER["learning_rate"] * multiplier for multiplier in schedule], jnp.float32)
    optimizer = optax.adamw(**{**OPTIMIZER, "learning_rate": lambda count: rates[count]})
    theta = {name: jnp.asarray(value) for name, value in initial.items()}
    state = optimizer.init(theta)
    value_and_gradient = jax.jit(jax.value_and_grad(_loss))
    gradients, losses = [], []
    for _ in range(n_steps):
        starts = rng.integers(0, len(encoded) - CONTEXT, BATCH_SIZE)
        loss, gradient = value_and_gradient(theta, encoded[starts[:, None] + np.arange(CONTEXT + 1)])
        gradients.append({name: np.asarray(gradient[name]) for name in initial})
        losses.append(float(loss))
        updates, state = optimizer.update(gradient, state, theta)
        theta = optax.apply_updates(theta, updates)
    return as_trace(
        "char_transformer",
        schedule,
        initial,
        gradients,
        losses,
        {"jax": jax.__version__, "optax": optax.__version__},
        {
            "framework": "jax",
            "model": f"one-layer transformer, tied embeddings, width {WIDTH}, {HEADS} heads, context {CONTEXT}",
            "data": f"this.s decoded and heapq.__about__ of the standard library, {len(source)} characters",
            "data_sha256": TEXT_SHA256,
            "seed": SEED,
            "optimizer": {"class": "optax.adamw", **OPTIMIZER},
            "schedule": f"linear warm-up over {WARM_UP} steps, then constant",
            "script": "scripts/record_traces/jax_char_transformer.py",
        },
    )
