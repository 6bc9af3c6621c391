"""`optconform trace record` with real Keras: by `fit`, in a loop of one's own, and with a scaled loss."""

import pytest

from optconform.conformance.traces import open_trace

pytest.importorskip("tensorflow")
pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow

TRAINING = """
import keras, numpy as np, optconform, tensorflow as tf

x = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
y = x[:, :2]


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, name="dense")], name="network")


def by_fit(model, optimizer, **options):
    model.compile(optimizer, loss="mse", **options)
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)


def by_hand(model, optimizer):
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = getattr(optimizer, "scale_loss", lambda loss: loss)(tf.reduce_mean((model(x) - y) ** 2))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))


trainings = {
    "run.trace": (by_fit, lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5)),
    "run-2.trace": (by_hand, lambda: keras.optimizers.SGD(0.1, momentum=0.9)),
    "run-3.trace": (by_hand, lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1))),
}
for train, optimizer in trainings.values():
    train(network(), optimizer())
by_fit(network(), keras.optimizers.AdamW(0.1), jit_compile=True)
# Once more, now recorded from here besides.
for name, (train, optimizer) in trainings.items():
    again = optimizer()
    with optconform.record(again, "inside-" + name, sample=4):
        train(network(), again)
"""


def content(path):
    """Everything in a trace but its name and the time at which it was recorded."""
    trace = open_trace(path)
    arrays = [trace.initial_parameters(), *(step.gradients for step in trace.steps())]
    values = [{name: None if each is None else each.tobytes() for name, each in found.items()} for found in arrays]
    run = trace.run
    return trace.parameters, trace.multipliers, values, run.framework, run.optimizer, run.groups, run.sample


def test_what_is_recorded_from_outside_is_what_is_recorded_inside(tmp_path, script, trace_record):
    recorded = trace_record("--sample", 4, "--", *script(TRAINING))
    assert recorded.status == 0, recorded.err
    told = [line for line in recorded.err.splitlines() if line.startswith("optconform: ")]
    note = told.pop()
    expected = [(6, "adamw:AdamW"), (2, "sgd:SGD"), (2, "adam:Adam")]
    expected = [*expected, (6, "adamw:AdamW"), *expected]
    assert note.startswith("optconform: note: XLA compiled a fit")
    for number, (line, (n_steps, kind)) in enumerate(zip(told, expected, strict=True), start=1):
        name = "run.trace" if number == 1 else f"run-{number}.trace"
        assert line.startswith(f"optconform: recorded {name}: {n_steps} steps of keras.src.optimizers.{kind}, ")
        assert "2 parameters, at most 4 coordinates of a tensor" in line
    for name, again in (("run.trace", "run-5.trace"), ("run-2.trace", "run-6.trace"), ("run-3.trace", "run-7.trace")):
        assert content(tmp_path / name) == content(tmp_path / again) == content(tmp_path / f"inside-{name}")
