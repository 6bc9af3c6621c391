"""Recording Keras optimizers: training stays the same bits, and the trace holds what the update rule was given."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import optconform
from optconform.adapters.errors import NotSupported
from optconform.adapters.keras_import import keras, tf
from optconform.adapters.keras_recorded import RecordedOptimizer
from optconform.conformance.traces import open_trace
from optconform.conformance.traces.errors import TraceError

pytestmark = pytest.mark.tensorflow

ROOT = Path(__file__).parents[2]
X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = X[:, :2]
MODES = {"graph": {"jit_compile": False}, "eager": {"run_eagerly": True}, "xla": {"jit_compile": True}}
OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "sgd": lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
}


def network(**layer):
    keras.utils.set_random_seed(0)
    first, last = keras.layers.Dense(4, "tanh", name="first", **layer), keras.layers.Dense(2, name="last")
    layers = [keras.layers.Input((3,)), first, last]
    return keras.Sequential(layers, name="network")


def fit(optimizer, *callbacks, model=None, x=X, epochs=2, **compiled):
    """Fit in batches of 2, two epochs of four steps; return the model."""
    model = model or network()
    model.compile(optimizer, "mse", **({} if compiled else MODES["graph"]) | compiled)
    model.fit(x, Y, batch_size=2, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks))
    return model


def bits(model):
    """Every variable of the model and its optimizer."""
    return [variable.numpy().tobytes() for variable in (*model.variables, *model.optimizer.variables)]


def recorded(tmp_path, optimizer, model=None, x=X, mode="graph", **options):
    """Fit one epoch, recorded by the callback; return the trace and the model."""
    callback = optconform.recording_callback(tmp_path / "run.trace", **options)
    model = fit(optimizer, callback, model=model, x=x, epochs=1, **MODES[mode])
    return open_trace(tmp_path / "run.trace"), model


def assert_descent(trace):
    """Each step of a trace of plain SGD is theta - lr * g, within four roundings."""
    before = trace.initial_parameters()
    for step, rate in zip(trace.steps(), rates(trace), strict=True):
        after = trace.parameters_after(step.index)
        for name, theta in before.items():
            gradient = step.gradients[name]
            expected = theta if gradient is None else theta.astype("float64") - rate * gradient
            largest = max(np.abs(theta).max(), np.abs(after[name]).max())
            np.testing.assert_allclose(after[name], expected, rtol=0, atol=2.0**-22 * largest)
            assert gradient is None or not np.array_equal(after[name], theta)
        before = after


def rates(trace):
    """The learning rate of each step."""
    return [trace.run.groups[0].at(step)["lr"] for step in range(1, trace.n_steps + 1)]


@pytest.mark.parametrize(("kind", "mode"), [*((kind, "graph") for kind in OPTIMIZERS), ("adamw", "eager")])
def test_fit_is_the_same_bits(kind, mode, tmp_path):
    unrecorded = bits(fit(OPTIMIZERS[kind](), **MODES[mode]))
    whole = optconform.recording_callback(tmp_path / "whole.trace", snapshots=True)
    sample = optconform.recording_callback(tmp_path / "sample.trace", sample=5, every=3)
    assert bits(fit(OPTIMIZERS[kind](), whole, **MODES[mode])) == unrecorded
    assert bits(fit(OPTIMIZERS[kind](), sample, **MODES[mode])) == unrecorded
    whole, sample = open_trace(tmp_path / "whole.trace"), open_trace(tmp_path / "sample.trace")
    assert (whole.n_steps, sample.n_steps) == (8, 3)
    name = "network/first/kernel"
    gradients = [step.gradients[name].reshape(-1)[sample.coordinates(name)] for step in whole.steps()]
    for step in sample.steps():
        assert np.array_equal(step.gradients[name], gradients[3 * (step.index - 1)])


def convolutions():
    """A model whose compiled update XLA fuses otherwise when a gradient of it is an output of its own."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8,)),
            layers.Reshape((8, 1)),
            layers.Conv1D(6, 3, padding="same", use_bias=False, kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Activation("swish"),
            layers.Conv1D(6, 3, activity_regularizer="l1"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3),
        ]
    )


def scaled_adam():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01, clipnorm=0.05))


COMPILED = {
    "adamw": (convolutions, OPTIMIZERS["adamw"], {"snapshots": True}),
    "adam": (convolutions, scaled_adam, {"sample": 5, "snapshots": True}),
    "sgd": (network, OPTIMIZERS["sgd"], {}),
}


@pytest.mark.parametrize("kind", COMPILED)
def test_a_compiled_fit_is_the_same_bits(kind, tmp_path):
    make_model, make_optimizer, options = COMPILED[kind]
    found = []
    for callbacks in ([], [optconform.recording_callback(tmp_path / "run.trace", **options)]):
        model, rng = make_model(), np.random.default_rng(0)
        x, y = rng.normal(size=(64, *model.input_shape[1:])), rng.normal(size=(64, *model.output_shape[1:]))
        model.compile(make_optimizer(), "mse", jit_compile=True)
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
        found.append(bits(model))
    assert found[0] == found[1]
    assert open_trace(tmp_path / "run.trace").n_steps == 16


@pytest.mark.parametrize("mode", MODES)
def test_gradients_and_parameters_belong_together(mode, tmp_path):
    trace, model = recorded(tmp_path, keras.optimizers.SGD(0.25), mode=mode, snapshots=True)
    assert trace.n_steps == 4
    assert_descent(trace)
    assert [p.name for p in trace.parameters] == [v.path for v in model.trainable_variables]
    assert (trace.run.framework, trace.run.optimizer) == ("tensorflow", "keras.src.optimizers.sgd:SGD")
    assert trace.run.groups[0].at(1) == {
        "lr": 0.25,
        "momentum": 0.0,
        "nesterov": False,
        "weight_decay": None,
        "use_ema": False,
        "ema_momentum": 0.99,
        "ema_overwrite_frequency": None,
    }


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ({"clipnorm": 0.01, "gradient_accumulation_steps": 2}, "graph"),
        ({"clipnorm": 0.01, "gradient_accumulation_steps": 2}, "xla"),
        ({"global_clipnorm": 0.01}, "graph"),
        ({"clipvalue": 0.001, "loss_scale_factor": 8.0}, "eager"),
    ],
    ids=str,
)
def test_what_comes_before_the_rule_is_in_the_gradient(options, mode, tmp_path):
    trace, _ = recorded(tmp_path, keras.optimizers.SGD(0.25, **options), mode=mode, snapshots=True)
    assert trace.n_steps == 4 // options.get("gradient_accumulation_steps", 1)
    assert_descent(trace)
    assert trace.provenance["applied_before_the_rule"] == options
    assert not options.keys() & trace.run.groups[0].hyperparameters.keys()
    for step in trace.steps():
        norms = [np.linalg.norm(gradient) for gradient in step.gradients.values()]
        assert max(norms) <= options.get("clipnorm", np.inf) * (1 + 1e-6)
        assert np.linalg.norm(norms) <= options.get("global_clipnorm", np.inf) * (1 + 1e-6)
        values = [np.abs(gradient).max() for gradient in step.gradients.values()]
        assert max(values) <= np.float32(options.get("clipvalue", np.inf))


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_steps_that_loss_scaling_skips(mode, tmp_path):
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.25), initial_scale=2.0**127)
    trace, _ = recorded(tmp_path, scaled, x=X * 8, mode=mode, snapshots=True)
    assert trace.n_steps == 4
    skipped = sorted(trace.run.skipped)
    assert 0 < len(skipped) < 4
    assert skipped == [step for step in range(1, 5) if trace.missing.get(step)]
    for step in trace.steps():
        if step.index not in skipped:
            assert max(np.abs(gradient).max() for gradient in step.gradients.values()) < 1e3
    assert trace.run.optimizer == "keras.src.optimizers.sgd:SGD"


def test_scaling_with_a_clipped_norm_is_the_same_bits(tmp_path):
    # Grappler joins the factors of unscaling, clipping and learning rate where nobody else reads what is between them.
    def optimizer():
        sgd = keras.optimizers.SGD(0.01, momentum=0.9, global_clipnorm=0.1)
        return keras.optimizers.LossScaleOptimizer(sgd)

    callback = optconform.recording_callback(tmp_path / "run.trace")
    assert bits(fit(optimizer(), callback)) == bits(fit(optimizer()))


def test_a_moving_average_that_overwrites(tmp_path):
    def optimizer():
        return keras.optimizers.SGD(0.25, use_ema=True, ema_overwrite_frequency=2)

    callback = optconform.recording_callback(tmp_path / "run.trace", snapshots=True)
    assert bits(fit(optimizer(), callback)) == bits(fit(optimizer()))
    assert open_trace(tmp_path / "run.trace").run.groups[0].at(1)["ema_overwrite_frequency"] == 2


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_an_embedding_is_recorded_by_its_rows(mode, tmp_path):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Input((3,)), keras.layers.Embedding(50, 4), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential(layers, name="network")
    tokens = np.array([[1, 1, 2], [3, 1, 7], [8, 9, 8], [4, 4, 4]] * 2)
    trace, _ = recorded(tmp_path, keras.optimizers.SGD(0.25), model, tokens, mode=mode, snapshots=True)
    name = next(p.name for p in trace.parameters if "embeddings" in p.name)
    for step, rows in zip(trace.steps(), ([1, 2, 3, 7], [4, 8, 9]) * 2, strict=True):
        assert np.flatnonzero(step.gradients[name].any(axis=1)).tolist() == rows
    before = trace.initial_parameters()[name]
    gradient = next(trace.steps()).gradients[name]
    assert np.allclose(trace.parameters_after(1)[name], before - 0.25 * gradient, rtol=0, atol=1e-8)
    assert trace.index.rows


def test_excluded_and_constrained_variables_are_groups(tmp_path):
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    trace, model = recorded(tmp_path, optimizer, network(kernel_constraint="non_neg"))
    kernel, bias, last_kernel, last_bias = (variable.path for variable in model.trainable_variables)
    groups = {group.parameters: group.at(1) for group in trace.run.groups}
    assert groups.keys() == {(kernel,), (bias, last_bias), (last_kernel,)}
    assert (groups[kernel,]["constraint"], groups[kernel,]["weight_decay"]) == ("NonNeg", 0.1)
    assert groups[bias, last_bias]["weight_decay"] == 0.0
    assert "constraint" not in groups[last_kernel,]


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_learning_rates_are_those_of_the_step(mode, tmp_path):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1, 2], [0.5, 0.25, 0.125])
    trace, _ = recorded(tmp_path, keras.optimizers.SGD(schedule), mode=mode, snapshots=True)
    assert rates(trace) == [0.5, 0.5, 0.25, 0.125]
    assert_descent(trace)


def test_learning_rates_that_are_assigned(tmp_path):
    class Halve(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.optimizer.learning_rate = 0.5**batch

    callback = optconform.recording_callback(tmp_path / "run.trace", snapshots=True)
    fit(keras.optimizers.SGD(1.0), callback, Halve(), epochs=1)
    trace = open_trace(tmp_path / "run.trace")
    assert rates(trace) == [1.0, 0.5, 0.25, 0.125]
    assert_descent(trace)


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_other_fits_know_nothing_of_it(mode, tmp_path):
    model = fit(OPTIMIZERS["adamw"](), epochs=1, **MODES[mode])
    former, moment = model.train_function, model.optimizer._momentums[0].numpy()
    callback = optconform.recording_callback(tmp_path / "run.trace", snapshots=True)
    model.fit(X, Y, batch_size=2, verbose=0, callbacks=[callback])
    assert model.train_function is former
    assert not {"apply", "_backend_update_step", "_clip_gradients"} & vars(model.optimizer).keys()
    model.fit(X, Y, batch_size=2, verbose=0)
    trace = open_trace(tmp_path / "run.trace")
    assert trace.n_steps == 4
    state = trace.state_before(trace.run.segments[0])
    name = trace.parameters[0].name
    assert state["step"][name] == 4
    assert np.array_equal(state["m"][name], moment)


def test_a_fit_that_was_broken_off(tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                raise KeyboardInterrupt

    model = network()
    with pytest.raises(KeyboardInterrupt):
        fit(OPTIMIZERS["adam"](), optconform.recording_callback(tmp_path / "run.trace"), Interrupt(), model=model)
    model.fit(X, Y, batch_size=2, verbose=0)
    assert "apply" not in vars(model.optimizer)
    assert open_trace(tmp_path / "run.trace").n_steps == 3


def test_several_steps_per_execution(tmp_path):
    found = []
    for number in (1, 3):
        callback = optconform.recording_callback(tmp_path / f"{number}.trace", snapshots=True)
        fit(OPTIMIZERS["adam"](), callback, steps_per_execution=number, jit_compile=False)
        trace = open_trace(tmp_path / f"{number}.trace")
        arrays = [trace.parameters_after(step) for step in range(1, 9)] + [each.gradients for each in trace.steps()]
        found.append([{name: array.tobytes() for name, array in each.items()} for each in arrays])
    assert found[0] == found[1]
    with pytest.raises(NotSupported, match=r"steps_per_execution=3 with XLA.* or with jit_compile=False"):
        fit(
            OPTIMIZERS["adam"](),
            optconform.recording_callback(tmp_path / "none.trace"),
            steps_per_execution=3,
            jit_compile=True,
        )
    assert not (tmp_path / "none.trace").exists()


def test_strategies(tmp_path):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = network()
        callback = optconform.recording_callback(tmp_path / "run.trace")
        fit(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.25)), callback, model=model, epochs=1)
    assert open_trace(tmp_path / "run.trace").n_steps == 4
    several = SimpleNamespace(num_replicas_in_sync=2)
    callback = optconform.recording_callback(tmp_path / "none.trace")
    callback.set_model(
        SimpleNamespace(distribute_strategy=several, optimizer=model.optimizer, jit_compile=False, run_eagerly=False)
    )
    with pytest.raises(NotSupported, match="2 replicas, and only one replica can be recorded"):
        callback.on_train_begin()


def test_more_than_one_step_in_a_compiled_batch(tmp_path):
    class Twice(keras.Sequential):
        def train_step(self, data):
            x, y = data
            for _ in range(2):
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean((self(x) - y) ** 2)
                gradients = tape.gradient(loss, self.trainable_variables)
                self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"loss": loss}

    def twice():
        return Twice([keras.layers.Input((3,)), keras.layers.Dense(2)])

    fit(OPTIMIZERS["adam"](), optconform.recording_callback(tmp_path / "graph.trace"), model=twice(), epochs=1)
    assert open_trace(tmp_path / "graph.trace").n_steps == 8
    callback = optconform.recording_callback(tmp_path / "xla.trace")
    with pytest.warns(optconform.RecordingWarning, match="made 2 steps in one batch"):
        fit(OPTIMIZERS["adam"](), callback, model=twice(), epochs=1, **MODES["xla"])


def loop(optimizer, model, wrap=lambda function: function, steps=3):
    """A loop of one's own; return its step."""

    @wrap
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        gradients[1] = None
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    for number in range(steps):
        step(X[number : number + 2], Y[number : number + 2])
    return step


@pytest.mark.parametrize("wrap", [lambda function: function, tf.function], ids=["eager", "function"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_loop_of_ones_own(kind, wrap, tmp_path):
    found = []
    for record in (False, True):
        model, optimizer = network(), OPTIMIZERS[kind]()
        if record:
            with optconform.record(optimizer, tmp_path / "run.trace", snapshots=True):
                step = loop(optimizer, model, wrap)
        else:
            step = loop(optimizer, model, wrap)
        step(X[:2], Y[:2])
        found.append([v.numpy().tobytes() for v in (*model.variables, *optimizer.variables)])
        assert "apply" not in vars(optimizer)
    assert found[0] == found[1]
    trace = open_trace(tmp_path / "run.trace")
    assert trace.n_steps == 3
    bias = model.trainable_variables[1].path
    assert [sorted(trace.missing[step]) for step in (1, 2, 3)] == [[bias]] * 3


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_functions_that_cannot_be_recorded(tmp_path):
    model, optimizer = network(), OPTIMIZERS["adam"]()
    optimizer.build(model.trainable_variables)
    recording = optconform.record(optimizer, tmp_path / "compiled.trace")
    with pytest.warns(optconform.RecordingWarning, match="jit_compile=True out, or train by fit with"):
        loop(optimizer, model, tf.function(jit_compile=True), steps=1)
    recording.close()
    step = loop(optimizer, model, tf.function, steps=1)
    recording = optconform.record(optimizer, tmp_path / "before.trace")
    step(X[:2], Y[:2])
    with pytest.warns(optconform.RecordingWarning, match="traced before the recording began"):
        recording.close()


def test_an_error_of_the_recording_is_not_the_trainings(tmp_path, monkeypatch):
    unrecorded = bits(fit(OPTIMIZERS["adam"]()))

    def broken(self):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(RecordedOptimizer, "held", broken)
    with pytest.warns(optconform.RecordingWarning, match=r"ZeroDivisionError: planted\. Training goes on"):
        model = fit(OPTIMIZERS["adam"](), optconform.recording_callback(tmp_path / "run.trace"))
    assert bits(model) == unrecorded


def test_a_name_that_is_taken(tmp_path):
    (tmp_path / "run.trace").mkdir()
    with pytest.raises(TraceError, match="found something of this name"):
        optconform.recording_callback(tmp_path / "run.trace")


def test_several_optimizers_in_one(tmp_path):
    several = keras.optimizers.SGD(0.1)
    several._inner_optimizers = [several]
    with pytest.raises(NotSupported, match="record each of its `optimizers` instead"):
        optconform.record(several, tmp_path / "run.trace")


def test_another_backend():
    code = "import optconform; optconform.recording_callback('run.trace')"
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert found.returncode == 1
    assert "Keras runs on 'jax' in this process" in found.stderr
    assert "Set KERAS_BACKEND=tensorflow" in found.stderr


def test_the_example(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["record_keras.py"])
    runpy.run_path(str(ROOT / "examples" / "record_keras.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert "this run: decoupled, since every recorded step lies within the bound of adamw" in shown
    assert "AdamW on these gradients: decoupled" in shown
