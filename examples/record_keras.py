"""Record a Keras `fit`; then ask whether the run kept to its rule, and audit the optimizer on its gradients.

python examples/record_keras.py
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
from sklearn.datasets import load_digits

import optconform


def main() -> None:
    """Train, record, audit."""
    images, labels = load_digits(return_X_y=True)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((64,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(10)])
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=1e-3, weight_decay=1e-2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    recording = optconform.recording_callback("run.trace", sample=256, snapshots=True, overwrite=True)
    model.fit(images / 16, labels, batch_size=64, epochs=2, verbose=0, callbacks=[recording])

    run = optconform.audit_run("run.trace")
    print(f"this run: {run.verdict}, since {run.reason}")

    audited = optconform.audit(
        keras.optimizers.AdamW, lr=1e-3, weight_decay=1e-2, dtype="float32", traces=["run.trace"], metamorphic=False
    )
    print(f"AdamW on these gradients: {audited.verdict}, since {audited.reason}")


if __name__ == "__main__":
    main()
