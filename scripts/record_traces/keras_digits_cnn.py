"""Record `digits_cnn`: a convolutional network with batch norm, warm-up and cosine schedule, trained in Keras."""

from __future__ import annotations

import os

import numpy as np
from recording import N_STEPS, Array, as_trace, batches, digits, multipliers, scaled_normal

from optconform.conformance.traces import MemoryTrace
from optconform.reference.schedules import cosine, linear_warmup

SEED = 20261123
BATCH_SIZE = 64
WARM_UP = 10
OPTIMIZER = {"learning_rate": 0.01, "weight_decay": 0.004, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}


def _initial(rng: np.random.Generator) -> dict[str, Array]:
    """theta_0 by layer and variable, in the model's order."""
    return {
        "conv_1/kernel": scaled_normal(rng, (3, 3, 1, 8), 9),
        "norm_1/gamma": np.ones(8, np.float32),
        "norm_1/beta": np.zeros(8, np.float32),
        "conv_2/kernel": scaled_normal(rng, (3, 3, 8, 12), 72),
        "norm_2/gamma": np.ones(12, np.float32),
        "norm_2/beta": np.zeros(12, np.float32),
        "classifier/kernel": scaled_normal(rng, (48, 10), 48),
        "classifier/bias": np.zeros(10, np.float32),
    }


def record(n_steps: int = N_STEPS) -> MemoryTrace:
    """Train for `n_steps` and return every gradient that the optimizer was given, in float32."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    import sklearn
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"Keras runs on {keras.backend.backend()}, but the recording needs TensorFlow: set KERAS_BACKEND=tensorflow"
        )
    images, labels = digits()
    images = images[..., np.newaxis]
    # No bias before a batch norm: its gradient is zero but for rounding, and Adam would make steps of the noise.
    # SiLU, not ReLU: near a kink another CPU's rounding could switch a unit, and the recording with it.
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv_1"),
            keras.layers.BatchNormalization(name="norm_1"),
            keras.layers.Activation("silu"),
            keras.layers.AveragePooling2D(2),
            keras.layers.Conv2D(12, 3, padding="same", use_bias=False, name="conv_2"),
            keras.layers.BatchNormalization(name="norm_2"),
            keras.layers.Activation("silu"),
            keras.layers.AveragePooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="classifier"),
        ]
    )
    rng = np.random.Generator(np.random.PCG64(SEED))
    initial = _initial(rng)
    variables = {f"{layer.name}/{v.name}": v for layer in model.layers for v in layer.trainable_variables}
    if list(variables) != list(initial):
        raise RuntimeError(f"the model has the variables {list(variables)}, but should have {list(initial)}")
    for name, variable in variables.items():
        variable.assign(initial[name])
    optimizer = keras.optimizers.AdamW(**OPTIMIZER)
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    schedule = multipliers(linear_warmup(WARM_UP, cosine(N_STEPS - WARM_UP)), n_steps)
    gradients, losses = [], []
    for multiplier, batch in zip(schedule, batches(rng, len(images), BATCH_SIZE, n_steps), strict=True):
        optimizer.learning_rate = OPTIMIZER["learning_rate"] * multiplier
        with tf.GradientTape() as tape:
            loss = loss_function(labels[batch], model(images[batch], training=True))
        step = tape.gradient(loss, [v.value for v in variables.values()])
        gradients.append({name: gradient.numpy() for name, gradient in zip(variables, step, strict=True)})
        losses.append(float(loss))
        optimizer.apply(step, list(variables.values()))
    return as_trace(
        "digits_cnn",
        schedule,
        initial,
        gradients,
        losses,
        {"keras": keras.__version__, "tensorflow": tf.__version__, "scikit-learn": sklearn.__version__},
        {
            "framework": "tensorflow",
            "model": "two 3x3 convolutions (8, 12 channels), each with batch norm, SiLU and pooling; a dense layer",
            "data": f"scikit-learn load_digits, shuffled, batches of {BATCH_SIZE}",
            "seed": SEED,
            "optimizer": {"class": "keras.optimizers.AdamW", **OPTIMIZER},
            "schedule": f"linear warm-up over {WARM_UP} steps, then cosine over {N_STEPS - WARM_UP}",
            "script": "scripts/record_traces/keras_digits_cnn.py",
        },
    )
