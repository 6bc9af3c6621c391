"""The Keras adapter against plain use of Keras, and what Keras rounds to float32 in float64."""

import os
import subprocess
import sys

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from optconform.adapters.errors import BuildFailed, StepFailed, UnknownOption  # noqa: E402
from optconform.adapters.keras_tf import KerasAdapter  # noqa: E402
from optconform.adapters.protocol import Cast  # noqa: E402
from optconform.adapters.targets import load_target, target_from_object  # noqa: E402

pytestmark = pytest.mark.tensorflow

PATHS = ("eager", "function", "compiled")


def build(target, parameters, dtype="float64", path=None, **hyperparameters):
    found = load_target(f"keras.optimizers:{target}") if isinstance(target, str) else target_from_object(target)
    return KerasAdapter().build(found, hyperparameters, parameters, dtype=dtype, path=path)


def run(optimizer, gradients, lr=0.05):
    for step in gradients:
        optimizer.step(step, lr)
    return optimizer.read_parameters()


@pytest.mark.parametrize("name", ["AdamW", "Adam", "SGD", "RMSprop", "Nadam", "Adamax", "Adagrad", "Lion", "Lamb"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_same_bits_as_plain_keras(name, dtype, parameters, gradients):
    plain = getattr(keras.optimizers, name)(learning_rate=0.05, weight_decay=0.25)
    variables = {key: keras.Variable(value, dtype=dtype, name=key) for key, value in parameters.items()}
    for count, step in enumerate(gradients):
        plain.learning_rate = 0.05 / (count + 1)
        plain.apply([keras.ops.convert_to_tensor(step[key], dtype) for key in variables], list(variables.values()))
    optimizer = build(name, parameters, dtype, lr=0.05, weight_decay=0.25)
    for count, step in enumerate(gradients):
        optimizer.step(step, 0.05 / (count + 1))
    for key, value in optimizer.read_parameters().items():
        np.testing.assert_array_equal(value, variables[key].numpy())


def test_missing_gradients_as_plain_keras_filters_them(parameters, gradients):
    fed = [gradients[0], {**gradients[1], "b": None}, {**gradients[2], "w": None, "scale": None}, gradients[3]]
    plain = keras.optimizers.AdamW(learning_rate=0.05, weight_decay=0.25)
    variables = {key: keras.Variable(value, dtype="float64", name=key) for key, value in parameters.items()}
    plain.build(list(variables.values()))
    for number, step in enumerate(fed):
        grads = [None if step[key] is None else keras.ops.convert_to_tensor(step[key], "float64") for key in variables]
        if number in (1, 2):
            with pytest.warns(UserWarning, match="Gradients do not exist"):
                plain.apply(grads, list(variables.values()))
        else:
            plain.apply(grads, list(variables.values()))
    for path in PATHS:
        found = run(build("AdamW", parameters, path=path, lr=0.05, weight_decay=0.25), fed)
        for key, value in found.items():
            np.testing.assert_allclose(value, variables[key].numpy(), rtol=1e-15)


def test_each_pattern_of_gradients_is_traced_once(parameters, gradients):
    traced = []

    class Counted(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            traced.append(variable.name)
            super().update_step(gradient, variable, learning_rate)

    optimizer = build(Counted, parameters, path="function", lr=0.05)
    run(optimizer, [gradients[0], {**gradients[1], "b": None}, gradients[2], {**gradients[3], "b": None}])
    assert len(traced) == 3 + 2


# The rules in float64 NumPy, with `h` the hyperparameters and `c` the same for the bias correction alone.


def adam(theta, g, s, t, lr, h, c):
    s["m"] += (g - s["m"]) * (1 - h["beta1"])
    s["v"] += (g * g - s["v"]) * (1 - h["beta2"])
    alpha = lr * np.sqrt(1 - c["beta2"] ** t) / (1 - c["beta1"] ** t)
    return theta - s["m"] * alpha / (np.sqrt(s["v"]) + h["eps"])


def sgd(theta, g, s, t, lr, h, c):
    if not h["momentum"]:
        return theta - lr * g
    s["m"] = s["m"] * h["momentum"] - g * lr
    return theta + s["m"]


def adamax(theta, g, s, t, lr, h, c):
    s["m"] += (g - s["m"]) * (1 - h["beta1"])
    s["v"] = np.maximum(h["beta2"] * s["v"], np.abs(g))
    return theta - lr * s["m"] / ((1 - c["beta1"] ** t) * (s["v"] + h["eps"]))


def lion(theta, g, s, t, lr, h, c):
    stepped = theta - lr * np.sign(s["m"] * h["beta1"] + g * (1 - h["beta1"]))
    s["m"] = s["m"] * h["beta2"] + g * (1 - h["beta2"])
    return stepped


def lamb(theta, g, s, t, lr, h, c):
    s["m"] += (g - s["m"]) * (1 - h["beta1"])
    s["v"] += (g * g - s["v"]) * (1 - h["beta2"])
    q = s["m"] / (1 - c["beta1"] ** t) / (np.sqrt(s["v"] / (1 - c["beta2"] ** t)) + h["eps"])
    return theta - np.linalg.norm(theta) / np.linalg.norm(q) * lr * q


def nadam(theta, g, s, t, lr, h, c):
    u, u_next = (h["beta1"] * (1 - 0.5 * float(np.float32(0.96)) ** k) for k in (t, t + 1))
    s["product"] = s.get("product", 1.0) * h["held_beta1"] * (1 - 0.5 * 0.96**t)
    s["m"] += (g - s["m"]) * (1 - h["beta1"])
    s["v"] += (g * g - s["v"]) * (1 - h["beta2"])
    m_hat = u_next * s["m"] / (1 - s["product"] * u_next) + (1 - u) * g / (1 - s["product"])
    return theta - m_hat * lr / (np.sqrt(s["v"] / (1 - c["beta2"] ** t)) + h["eps"])


def rmsprop(theta, g, s, t, lr, h, c):
    s["v"] = h["rho"] * s["v"] + (1 - h["rho"]) * g * g
    return theta - lr * g / np.sqrt(s["v"] + h["eps"])


def adagrad(theta, g, s, t, lr, h, c):
    s["v"] = (h["initial_accumulator_value"] if t == 1 else s["v"]) + g * g
    return theta - lr * g / np.sqrt(s["v"] + h["eps"])


ODD = {"lr": 0.0123, "weight_decay": 0.37}
BETAS = {"beta1": 0.87, "beta2": 0.993}
MODELS = {
    "AdamW": (adam, BETAS),
    "Adam": (adam, BETAS),
    "SGD": (sgd, {"momentum": 0.87}),
    "SGD without momentum": (sgd, {"momentum": 0.0}),
    "Adamax": (adamax, BETAS),
    "Lion": (lion, BETAS),
    "Lamb": (lamb, BETAS),
    "Nadam": (nadam, BETAS),
    "RMSprop": (rmsprop, {"rho": 0.87}),
    "Adagrad": (adagrad, {}),
}


UNSEEN = {("Lion", "beta1"), ("Lamb", "beta1"), ("Lamb", "beta2")}
"""Casts without a visible effect: Lion takes a sign of it, Lamb divides its step by the step's own norm."""


def rounded(values, casts, use):
    """Return the hyperparameters as they are used, going by what the adapter states."""
    found = dict(values)
    for cast in casts:
        if cast.use in ("everywhere", use) and cast.hyperparameter in found:
            found[cast.hyperparameter] = float(np.dtype(cast.dtype).type(found[cast.hyperparameter]))
    return found


def distance(model, casts, optimizer, parameters, gradients, lrs):
    """Return the largest distance of the optimizer's parameters and momentum from the model in float64.

    It is relative to the largest magnitude in the array, over all steps.
    """
    held = {**optimizer.held, **ODD, "held_beta1": optimizer.held.get("beta1")}
    theta = {name: value.copy() for name, value in parameters.items()}
    state = {name: {"m": np.zeros_like(value), "v": np.zeros_like(value)} for name, value in parameters.items()}
    worst = 0.0
    for t, (step, lr) in enumerate(zip(gradients, lrs, strict=True), 1):
        optimizer.step(step, lr)
        h = rounded({**held, "lr": lr}, casts, "everywhere")
        c = rounded({**held, "lr": lr}, casts, "bias_correction")
        for name, value in optimizer.read_parameters().items():
            decayed = theta[name] - theta[name] * h["weight_decay"] * h["lr"]
            theta[name] = model(decayed, step[name], state[name], t, h["lr"], h, c)
            worst = max(worst, relative(value, theta[name]))
        slots = optimizer.read_state()
        for name, value in slots.get("m", slots.get("momentums", {})).items():
            worst = max(worst, relative(value, state[name]["m"]))
    return worst


def relative(found, expected):
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", MODELS)
def test_casts_explain_keras_in_float64(name, path, parameters, gradients):
    model, options = MODELS[name]
    lrs = [ODD["lr"] * eta for eta in (1.0, 0.9, 0.7, 0.7, 0.3, 0.1)]
    optimizer = build(name.split()[0], parameters, path=path, **ODD, **options)
    start = optimizer.snapshot()
    explained = distance(model, optimizer.casts, optimizer, parameters, gradients, lrs)
    # Six steps of some ten roundings each, half an ulp at most; measured: 0.0 in most, 2.5e-16 at most.
    assert explained <= 30 * np.finfo(float).eps
    for left_out in optimizer.casts:
        if options.get(left_out.hyperparameter) == 0.0 or (name, left_out.hyperparameter) in UNSEEN:
            continue
        optimizer.restore(start)
        others = [cast for cast in optimizer.casts if cast is not left_out]
        # Each cast is needed: without any one of them the model is off by float32's rounding of it.
        assert distance(model, others, optimizer, parameters, gradients, lrs) > 1e3 * max(explained, 1e-16)


def test_casts_are_those_of_the_weights_dtype_and_of_the_method_that_runs(parameters):
    class Own(keras.optimizers.Adam):
        def update_step(self, gradient, variable, learning_rate):
            self.assign_sub(variable, gradient * self.learning_rate)

    assert Cast("beta2", "float32", "bias_correction") in build("AdamW", parameters).casts
    assert build("AdamW", parameters, "float32").casts == ()
    assert build(Own, parameters).casts == (Cast("lr", "float32"), Cast("weight_decay", "float32"))


def test_learning_rate_is_not_rounded_where_floatx_is_double(parameters):
    keras.config.set_floatx("float64")
    try:
        optimizer = build("SGD", parameters, lr=0.0123)
    finally:
        keras.config.set_floatx("float32")
    assert optimizer.held["lr"] == 0.0123
    assert "lr" not in {cast.hyperparameter for cast in optimizer.casts}


def test_held_learning_rate_shows_its_rounding(parameters):
    held = build("AdamW", parameters, **ODD).held
    assert held["lr"] == float(np.float32(0.0123))
    assert held["weight_decay"] == 0.37
    assert "name" not in held


def test_factory_that_hides_its_options_still_follows_the_learning_rate(parameters, gradients):
    def factory(weight_decay=0.25):
        return keras.optimizers.AdamW(7.0, weight_decay=weight_decay)

    hidden = build(factory, parameters, lr=0.05)
    assert (hidden.held["beta1"], hidden.held["beta2"], hidden.held["eps"]) == (0.9, 0.999, 1e-7)
    expected = run(build("AdamW", parameters, lr=0.05, weight_decay=0.25), gradients)
    for name, value in run(hidden, gradients).items():
        np.testing.assert_array_equal(value, expected[name])


def test_integer_learning_rate_is_taken(parameters):
    assert build("SGD", parameters, lr=1).held["lr"] == 1.0


def test_state_is_named_after_what_it_is(parameters, gradients):
    def slots(name, **hyperparameters):
        optimizer = build(name, parameters, lr=0.05, **hyperparameters)
        run(optimizer, gradients[:1])
        return set(optimizer.read_state())

    assert slots("SGD", momentum=0.9) == {"momentums"}
    assert slots("SGD") == set()
    assert slots("Adam", amsgrad=True) == {"m", "v", "v_max"}
    assert slots("Lion") == {"momentums"}


def test_two_parameters_are_not_mistaken_for_count_and_learning_rate(gradients):
    optimizer = build("SGD", {"a": np.array(1.0), "b": np.array(2.0)}, lr=0.05)
    assert optimizer.read_state() == {}


def test_variable_outside_optimizer_variables_is_saved(parameters, gradients):
    class Bare(keras.optimizers.SGD):
        def build(self, variables):
            super().build(variables)
            self.total = tf.Variable(0.0, dtype="float64")

        def update_step(self, gradient, variable, learning_rate):
            self.total.assign_add(tf.reduce_sum(tf.abs(gradient)))
            super().update_step(gradient / self.total, variable, learning_rate)

    optimizer = build(Bare, parameters, lr=0.05)
    assert optimizer.optimizer.total is not None
    assert all(variable is not optimizer.optimizer.total for variable in optimizer.optimizer.variables)
    run(optimizer, gradients[:3])
    saved = optimizer.snapshot()
    expected = run(optimizer, gradients[3:])
    optimizer.restore(saved)
    for name, value in run(optimizer, gradients[3:]).items():
        np.testing.assert_array_equal(value, expected[name])


def test_learning_rate_and_decay_in_variables_stay_the_instances_own(parameters, gradients):
    class DecayVariable(keras.optimizers.SGD):
        def __init__(self, learning_rate=0.1, weight_decay=0.0):
            super().__init__(learning_rate)
            self.weight_decay = keras.Variable(weight_decay, dtype="float64", trainable=False)

    first = build(DecayVariable, parameters, lr=0.25, weight_decay=0.5)
    other = build(DecayVariable, parameters, lr=0.125, weight_decay=0.0)
    run(first, gradients[:1], 0.25)
    other.restore(first.snapshot())
    assert first.held["weight_decay"] == 0.5
    assert float(other.optimizer.weight_decay.numpy()) == 0.0
    assert float(other.optimizer.learning_rate.numpy()) == 0.125


def test_count_kept_as_a_plain_number_is_saved(parameters, gradients):
    class Counts(keras.optimizers.SGD):
        def apply(self, grads, trainable_variables=None):
            self.t = getattr(self, "t", 0) + 1
            super().apply([g / self.t for g in grads], trainable_variables)

    optimizer = build(Counts, parameters, lr=0.05)
    run(optimizer, gradients[:2])
    saved = optimizer.snapshot()
    expected = run(optimizer, gradients[2:])
    optimizer.restore(saved)
    assert optimizer.optimizer.t == 2
    for name, value in run(optimizer, gradients[2:]).items():
        np.testing.assert_array_equal(value, expected[name])


def test_attribute_that_did_not_exist_when_saving_is_gone_after_restoring(parameters, gradients):
    class Counts(keras.optimizers.SGD):
        def apply(self, grads, trainable_variables=None):
            self.t = getattr(self, "t", 0) + 1
            super().apply([g / self.t for g in grads], trainable_variables)

    optimizer = build(Counts, parameters, lr=0.05)
    saved = optimizer.snapshot()
    expected = run(optimizer, gradients)
    optimizer.restore(saved)
    assert not hasattr(optimizer.optimizer, "t")
    for name, value in run(optimizer, gradients).items():
        np.testing.assert_array_equal(value, expected[name])


def test_constructor_that_raises(parameters):
    with pytest.raises(BuildFailed, match=r"keras.optimizers:SGD: the constructor raised ValueError: `momentum`"):
        build("SGD", parameters, momentum=2.0)


def test_option_hidden_behind_kwargs_is_unknown(parameters):
    with pytest.raises(UnknownOption, match="has no option 'dampening'; it accepts: learning_rate, momentum"):
        build("SGD", parameters, dampening=0.5)


def test_factory_that_returns_no_optimizer(parameters):
    class Thing(keras.layers.Layer):
        pass

    with pytest.raises(BuildFailed, match="has no build and apply"):
        build(Thing, parameters)


@pytest.mark.parametrize("path", PATHS)
def test_step_that_raises(path, parameters, gradients):
    class Raises(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            raise RuntimeError("\x1b[2Jgone")

    with pytest.raises(StepFailed, match=r"apply\(\) raised .*\\x1b\[2Jgone") as caught:
        build(Raises, parameters, lr=0.05, path=path).step(gradients[0], 0.05)
    assert caught.value.__cause__ is not None


def test_learning_rate_that_cannot_be_set(parameters, gradients):
    def factory(weight_decay=0.0):
        schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
        return keras.optimizers.SGD(schedule, weight_decay=weight_decay)

    with pytest.raises(StepFailed, match="LearningRateSchedule"):
        build(factory, parameters).step(gradients[0], 0.05)


WRONG_BACKEND = """
from optconform.adapters.frameworks import load_adapter
from optconform.adapters.errors import MissingFramework
{before}
try:
    load_adapter("tensorflow")
except MissingFramework as error:
    print("refused:", error)
"""


@pytest.mark.parametrize(
    ("environment", "before"),
    [
        ({"KERAS_BACKEND": "numpy"}, ""),
        ({"KERAS_BACKEND": "numpy"}, "import keras, os; del os.environ['KERAS_BACKEND']"),
    ],
    ids=["asked for", "imported already"],
)
def test_wrong_backend_is_refused_with_the_remedy(environment, before, tmp_path):
    if before:
        pytest.importorskip("jax", reason="Keras borrows from JAX on its NumPy backend")
    done = subprocess.run(
        [sys.executable, "-c", WRONG_BACKEND.format(before=before)],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "refused: Keras runs on 'numpy'" in done.stdout, done.stderr
    assert "Set KERAS_BACKEND=tensorflow before Keras is imported" in done.stdout
