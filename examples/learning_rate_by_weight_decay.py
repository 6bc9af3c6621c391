"""Learning rate by weight decay, as in Figures 1 and 2 of Loshchilov and Hutter (ICLR 2019), on scikit-learn's digits.

Trains a small network at every setting of a grid of powers of two, for six optimizers built of Optax's own
transformations, and measures how far the basin of the best settings is aligned with the axes. Writes a JSON document
and, where Matplotlib is installed, an SVG figure beside it.

python examples/learning_rate_by_weight_decay.py --output heat-maps.json
"""

from __future__ import annotations

import argparse
import json
import platform
import runpy
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

SCHEMA = "optconform/example/learning-rate-by-weight-decay/1"
TRAINING_IMAGES = 600
RANDOM_LABELS = 180
"""Training images whose label is drawn at random: without them weight decay hardly changes the test error."""
BATCH = 32
HIDDEN = 32
MOMENTUM = 0.9
FRACTIONS = (0.2, 0.1, 0.3)
"""Share of the settings that make up the basin: the headline, then two others to show how much the choice matters."""
RESAMPLES = 1000


class Family(NamedTuple):
    """One optimizer: `make(schedule, lr, wd)` builds it, `schedule` being lr times the cosine."""

    name: str
    title: str
    make: Callable[[Any, Any, Any], optax.GradientTransformation]
    log2_lr: tuple[int, int]
    log2_wd: tuple[int, int]


def sgd_l2(schedule: Any, lr: Any, wd: Any) -> optax.GradientTransformation:
    """SGD with momentum; the gradient becomes g + wd*theta."""
    return optax.chain(optax.add_decayed_weights(wd), optax.sgd(schedule, momentum=MOMENTUM))


def sgdw_times_lr(schedule: Any, lr: Any, wd: Any) -> optax.GradientTransformation:
    """SGD with momentum; theta shrinks by lr_t*wd, outside the momentum buffer."""
    return optax.chain(optax.trace(MOMENTUM), optax.add_decayed_weights(wd), optax.scale_by_learning_rate(schedule))


def sgdw(schedule: Any, lr: Any, wd: Any) -> optax.GradientTransformation:
    """SGDW (Algorithm 1, but with the learning rate outside the buffer): theta shrinks by eta_t*wd, whatever lr is."""
    return sgdw_times_lr(schedule, lr, wd / lr)


def adam_l2(schedule: Any, lr: Any, wd: Any) -> optax.GradientTransformation:
    """Adam on g + wd*theta."""
    return optax.chain(optax.add_decayed_weights(wd), optax.adam(schedule))


def adamw_times_lr(schedule: Any, lr: Any, wd: Any) -> optax.GradientTransformation:
    """AdamW as the libraries have it: theta shrinks by lr_t*wd."""
    return optax.adamw(schedule, weight_decay=wd)


def adamw(schedule: Any, lr: Any, wd: Any) -> optax.GradientTransformation:
    """AdamW (Algorithm 2): theta shrinks by eta_t*wd, whatever lr is."""
    return optax.adamw(schedule, weight_decay=wd / lr)


FAMILIES = (
    Family("sgd_l2", "SGD, L2", sgd_l2, (-9, 3), (-12, 0)),
    Family("sgdw_times_lr", "SGDW, decay lr*wd", sgdw_times_lr, (-9, 3), (-12, 0)),
    Family("sgdw", "SGDW, the paper's decay", sgdw, (-9, 3), (-12, 0)),
    Family("adam_l2", "Adam, L2", adam_l2, (-13, -1), (-12, 0)),
    Family("adamw_times_lr", "AdamW, decay lr*wd", adamw_times_lr, (-13, -1), (-6, 6)),
    Family("adamw", "AdamW, the paper's decay", adamw, (-13, -1), (-12, 0)),
)


def initial_parameters(key: jax.Array) -> dict[str, jax.Array]:
    """Draw the weights of 64 - HIDDEN - 10 (He's normal), zeros for the biases."""
    first, second = jax.random.split(key)
    return {
        "hidden": jax.random.normal(first, (64, HIDDEN)) * (2 / 64) ** 0.5,
        "hidden_bias": jnp.zeros(HIDDEN),
        "output": jax.random.normal(second, (HIDDEN, 10)) * (1 / HIDDEN) ** 0.5,
        "output_bias": jnp.zeros(10),
    }


def logits(parameters: dict[str, jax.Array], images: jax.Array) -> jax.Array:
    """One hidden layer, normalised, so that only the direction of its weights counts, as in the paper's networks."""
    hidden = jax.nn.standardize(images @ parameters["hidden"], epsilon=1e-5) + parameters["hidden_bias"]
    return jax.nn.relu(hidden) @ parameters["output"] + parameters["output_bias"]


def loss(parameters: dict[str, jax.Array], images: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(logits(parameters, images), labels).mean()


@partial(jax.jit, static_argnums=0)
def wrong_on_grid(make: Callable, lrs: Any, wds: Any, start: Any, batches: Any, test: Any) -> jax.Array:
    """Train at every (lr, wd); test images told wrong, (lrs, wds). A run that is not finite tells all of them wrong."""
    steps = len(batches[1])

    def train(lr: jax.Array, wd: jax.Array) -> jax.Array:
        optimizer = make(optax.cosine_decay_schedule(lr, steps), lr, wd)

        def step(carry: Any, batch: Any) -> tuple[Any, None]:
            parameters, state = carry
            updates, state = optimizer.update(jax.grad(loss)(parameters, *batch), state, parameters)
            return (optax.apply_updates(parameters, updates), state), None

        (parameters, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), batches)
        images, labels = test
        out = logits(parameters, images)
        return jnp.where(jnp.isfinite(out).all(), (out.argmax(-1) != labels).sum(), len(labels))

    return jax.vmap(jax.vmap(train, (None, 0)), (0, None))(lrs, wds)


@cache
def data(seed: int, steps: int) -> tuple[Any, Any]:
    """Batches to train on, (steps, BATCH, 64) and labels, and the images and labels kept for the test."""
    rng = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(images))
    images, labels = (images[order] / 16).astype(np.float32), labels[order]
    seen = labels[:TRAINING_IMAGES].copy()
    seen[:RANDOM_LABELS] = rng.integers(0, 10, RANDOM_LABELS)
    epochs = -(-steps * BATCH // TRAINING_IMAGES)
    drawn = np.concatenate([rng.permutation(TRAINING_IMAGES) for _ in range(epochs)])[: steps * BATCH]
    drawn = drawn.reshape(steps, BATCH)
    return (images[drawn], seen[drawn]), (images[TRAINING_IMAGES:], labels[TRAINING_IMAGES:])


class Alignment(NamedTuple):
    """How a basin lies: correlation of log2 lr and log2 wd, and powers of two that wd moves when lr doubles."""

    correlation: np.ndarray
    slope: np.ndarray


def alignment(error: np.ndarray, log2_lr: Any, log2_wd: Any, fraction: float) -> Alignment:
    """Weighted covariance of the coordinates of the best `fraction` of the settings; `error` is (..., lrs, wds).

    A setting weighs what its error stays below the best error outside the basin. Correlation 0: the basin lies along
    the axes; -1 or 1: along a diagonal. A basin inside one row or one column lies along the axes.
    Raises ValueError where no setting is better than another.
    """
    flat = error.reshape(*error.shape[:-2], -1)
    outside = flat > np.quantile(flat, fraction, axis=-1, keepdims=True)
    if not outside.any(axis=-1).all():
        raise ValueError("all settings are equally good: widen the grid or train longer")
    weights = np.maximum(np.where(outside, flat, np.inf).min(axis=-1, keepdims=True) - flat, 0)
    weights /= weights.sum(axis=-1, keepdims=True)
    lr, wd = (
        axis.ravel() - (weights @ axis.ravel())[..., np.newaxis]
        for axis in np.meshgrid(log2_lr, log2_wd, indexing="ij")
    )
    lr_lr, wd_wd, lr_wd = ((weights * product).sum(axis=-1) for product in (lr * lr, wd * wd, lr * wd))
    spread = np.minimum(lr_lr, wd_wd) > 1e-12
    scale = np.where(spread, lr_lr, 1.0), np.where(spread, np.sqrt(lr_lr * wd_wd), 1.0)
    return Alignment(np.where(spread, lr_wd / scale[1], 0.0), np.where(spread, lr_wd / scale[0], 0.0))


def alignment_with_interval(wrong: np.ndarray, log2_lr: Any, log2_wd: Any, fraction: float) -> dict[str, Any]:
    """Alignment of the mean over the seeds, with 95% percentile intervals over resampled seeds; (seeds, lrs, wds)."""
    drawn = np.random.default_rng(0).integers(0, len(wrong), (RESAMPLES, len(wrong)))
    samples = alignment(wrong[drawn].mean(axis=1), log2_lr, log2_wd, fraction)
    whole = alignment(wrong.mean(axis=0), log2_lr, log2_wd, fraction)
    return {
        name: {"value": round(float(value), 3), "interval": np.quantile(column, (0.025, 0.975)).round(3).tolist()}
        for name, value, column in zip(Alignment._fields, whole, samples, strict=True)
    } | {"fraction": fraction}


def measure(family: Family, seeds: int, steps: int, every: int) -> dict[str, Any]:
    """One heat map, as the JSON document holds it."""
    log2_lr, log2_wd = (np.arange(low, high + 1, every) for low, high in (family.log2_lr, family.log2_wd))
    wrong = []
    for seed in range(seeds):
        batches, test = data(seed, steps)
        start = initial_parameters(jax.random.key(seed))
        powers = (jnp.exp2(axis.astype(np.float32)) for axis in (log2_lr, log2_wd))
        wrong.append(np.asarray(wrong_on_grid(family.make, *powers, start, batches, test)))
    counts = np.array(wrong)
    return {
        "name": family.name,
        "title": family.title,
        "log2_lr": log2_lr.tolist(),
        "log2_wd": log2_wd.tolist(),
        "alignment": [alignment_with_interval(counts, log2_lr, log2_wd, fraction) for fraction in FRACTIONS],
        "best_error_percent": round(100 * float(counts.mean(0).min()) / len(test[1]), 2),
        "wrong": counts.tolist(),
    }


def main() -> int:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("learning_rate_by_weight_decay.json"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th power of two")
    parser.add_argument("--optimizer", action="append", choices=[family.name for family in FAMILIES], help="only these")
    given = parser.parse_args()
    started = time.perf_counter()
    families = []
    for family in FAMILIES:
        if given.optimizer and family.name not in given.optimizer:
            continue
        families.append(measure(family, given.seeds, given.steps, given.every))
        correlation = families[-1]["alignment"][0]["correlation"]
        print(f"{family.title:26}correlation {correlation['value']:+.2f}, 95% {correlation['interval']}", flush=True)
    document = {
        "schema": SCHEMA,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("jax", "optax", "numpy", "scikit-learn")}
        | {"python": platform.python_version()},
        "device": jax.devices()[0].platform,
        "settings": {
            "seeds": given.seeds,
            "steps": given.steps,
            "batch": BATCH,
            "hidden": HIDDEN,
            "training_images": TRAINING_IMAGES,
            "random_labels": RANDOM_LABELS,
            "test_images": len(data(0, 1)[1][1]),
            "momentum": MOMENTUM,
        },
        "seconds": round(time.perf_counter() - started, 1),
        "families": families,
    }
    given.output.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    try:
        draw = runpy.run_path(str(Path(__file__).with_name("heat_maps.py")))["draw"]
    except ModuleNotFoundError as missing:
        print(f"no figure: {missing.name} is not installed (python -m pip install matplotlib)", file=sys.stderr)
    else:
        draw(document, given.output.with_suffix(".svg"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
