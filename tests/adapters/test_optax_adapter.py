"""The Optax adapter against plain use of Optax, and what it must not leave behind."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

from optconform.adapters.errors import BuildFailed, MissingDevice, NotReplayable, StepFailed, UnknownOption  # noqa: E402
from optconform.adapters.optax_jax import OptaxAdapter  # noqa: E402
from optconform.adapters.targets import load_target, target_from_object  # noqa: E402

jnp = jax.numpy
pytestmark = pytest.mark.jax

PATHS = ("eager", "compiled")


def build(target, parameters, dtype="float64", path=None, renamed=None, **hyperparameters):
    if isinstance(target, str):
        found = load_target(target, renamed=renamed)
    else:
        found = target_from_object(target, framework="jax", renamed=renamed)
    return OptaxAdapter().build(found, hyperparameters, parameters, dtype=dtype, path=path)


def run(optimizer, gradients, lr=0.05):
    for step in gradients:
        optimizer.step(step, lr)
    return optimizer.read_parameters()


def injected(learning_rate, weight_decay=0.0):
    return optax.inject_hyperparams(optax.adamw)(learning_rate=learning_rate, weight_decay=weight_decay)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "lion", "rmsprop", "adafactor"])
def test_same_bits_as_plain_optax(name, parameters, gradients):
    """float32, a schedule, eager: what a user writes."""
    rates = jnp.asarray([0.05 / (count + 1) for count in range(6)])
    plain = getattr(optax, name)(lambda count: rates[count])
    theta = {key: jnp.asarray(value, jnp.float32) for key, value in parameters.items()}
    state = plain.init(theta)
    for step in gradients:
        fed = {key: jnp.asarray(value, jnp.float32) for key, value in step.items()}
        updates, state = plain.update(fed, state, theta)
        theta = optax.apply_updates(theta, updates)
    optimizer = build(f"optax:{name}", parameters, "float32", lr=0.05)
    for count, step in enumerate(gradients):
        optimizer.step(step, float(np.float32(0.05 / (count + 1))))
    for key, value in optimizer.read_parameters().items():
        np.testing.assert_array_equal(value, np.asarray(theta[key]))


@pytest.mark.parametrize("path", PATHS)
def test_adamw_in_double_is_adamw_in_double(path, parameters, gradients):
    """Nothing passes through float32: a float64 model is rounding away, so there are no casts to state."""
    h = {"b1": 0.87, "b2": 0.993, "eps": 1e-8, "weight_decay": 0.37}
    optimizer = build("optax:adamw", parameters, path=path, lr=0.0123, **h)
    theta = dict(parameters)
    m, v = ({name: np.zeros_like(value) for name, value in parameters.items()} for _ in range(2))
    for t, step in enumerate(gradients, 1):
        lr = 0.0123 / t
        optimizer.step(step, lr)
        for name, g in step.items():
            m[name] = (1 - h["b1"]) * g + h["b1"] * m[name]
            v[name] = (1 - h["b2"]) * g * g + h["b2"] * v[name]
            q = m[name] / (1 - h["b1"] ** t) / (np.sqrt(v[name] / (1 - h["b2"] ** t)) + h["eps"])
            theta[name] = theta[name] - lr * (q + h["weight_decay"] * theta[name])
    for name, value in optimizer.read_parameters().items():
        np.testing.assert_allclose(value, theta[name], rtol=30 * np.finfo(float).eps)
    assert optimizer.casts == ()


@pytest.mark.parametrize("path", PATHS)
def test_double_precision_is_never_left_on(path, parameters, gradients):
    optimizer = build("optax:adamw", parameters, path=path, lr=0.05)
    run(optimizer, gradients[:2])
    optimizer.restore(optimizer.snapshot())
    assert jnp.asarray(np.ones(2)).dtype == "float32"
    assert not jax.config.jax_enable_x64


def test_double_precision_is_left_off_for_float32(parameters, gradients):
    seen = []

    def factory(learning_rate):
        def update(updates, state, params=None):
            seen.append(jnp.asarray(np.ones(2)).dtype.name)
            return jax.tree.map(lambda g: -learning_rate(0) * g, updates), state

        return optax.GradientTransformation(lambda params: (), update)

    run(build(factory, parameters, "float32", lr=0.05), gradients[:1])
    run(build(factory, parameters, "float64", lr=0.05), gradients[:1])
    assert list(dict.fromkeys(seen)) == ["float32", "float64"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_learning_rate_takes_the_dtype_of_what_it_scales(path, dtype, parameters, gradients):
    def factory(learning_rate):
        def update(updates, state, params=None):
            scaled = jax.tree.map(lambda g: -learning_rate(state) * g, updates)
            assert {leaf.dtype.name for leaf in jax.tree.leaves(scaled)} == {dtype}
            return scaled, state + 1

        return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)

    run(build(factory, parameters, dtype, path, lr=0.05), gradients[:2])


def test_compiled_step_is_traced_once_whatever_the_learning_rate(parameters, gradients):
    traced = []

    def factory(learning_rate):
        def update(updates, state, params=None):
            traced.append(learning_rate(0))
            return jax.tree.map(lambda g: -learning_rate(0) * g, updates), state

        return optax.GradientTransformation(lambda params: (), update)

    optimizer = build(factory, parameters, path="compiled", lr=0.5)
    for step, lr in zip(gradients, (0.1, 0.2, 0.3, 0.1, 0.0, 0.5), strict=True):
        before = optimizer.read_parameters()
        optimizer.step(step, lr)
        for name, value in optimizer.read_parameters().items():
            np.testing.assert_allclose(value, before[name] - lr * step[name], rtol=1e-15)
    assert len(traced) == 1


@pytest.mark.parametrize("path", PATHS)
def test_no_tracer_outlives_the_step(path, parameters, gradients):
    schedules = []

    def factory(learning_rate):
        schedules.append(learning_rate)
        return optax.sgd(learning_rate)

    run(build(factory, parameters, path=path, lr=0.5), gradients[:1], 0.1)
    assert schedules[0](0) == 0.5


def test_learning_rate_is_restored_after_a_step_that_raises(parameters, gradients):
    schedules = []

    def factory(learning_rate):
        schedules.append(learning_rate)

        def update(updates, state, params=None):
            raise RuntimeError("\x1b[2Jgone")

        return optax.GradientTransformation(lambda params: (), update)

    for path in PATHS:
        with pytest.raises(StepFailed, match=r"update\(\) raised RuntimeError: \\x1b\[2Jgone"):
            build(factory, parameters, path=path, lr=0.5).step(gradients[0], 0.1)
        assert schedules[-1](0) == 0.5


def test_factory_without_learning_rate_is_refused_with_the_remedy(parameters):
    with pytest.raises(UnknownOption, match=r"takes no learning rate.*--map lr=NAME"):
        build("optax:scale_by_adam", parameters)


def test_learning_rate_under_a_name_of_its_own(parameters, gradients):
    def factory(rate, weight_decay=0.0):
        return optax.adamw(rate, weight_decay=weight_decay)

    optimizer = build(factory, parameters, renamed={"lr": "rate"}, lr=0.05)
    assert optimizer.held["lr"] == 0.05
    expected = run(build("optax:adamw", parameters, lr=0.05, weight_decay=0.0), gradients)
    found = run(optimizer, gradients)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_factory_that_takes_no_schedule_says_that_it_was_given_one(parameters):
    def factory(learning_rate):
        return optax.sgd(2 * learning_rate)

    with pytest.raises(BuildFailed, match=r"raised TypeError: .*learning_rate was a schedule"):
        build(factory, parameters)


def test_factory_that_returns_no_transformation(parameters):
    with pytest.raises(BuildFailed, match="returned dict, which has no init and update"):
        build(lambda learning_rate: {}, parameters)


def test_update_that_needs_a_loss_is_not_replayable(parameters, gradients):
    def factory(learning_rate):
        def update(updates, state, params=None, *, value):
            return updates, state

        return optax.GradientTransformationExtraArgs(lambda params: (), update)

    with pytest.raises(NotReplayable, match=r"update\(\) needs value; recorded gradients alone"):
        build(factory, parameters).step(gradients[0], 0.05)


@pytest.mark.parametrize("path", PATHS)
def test_decay_inside_the_state_stays_the_instances_own(path, parameters, gradients):
    decaying = build(injected, parameters, path=path, lr=0.05, weight_decay=0.5)
    plain = build(injected, parameters, path=path, lr=0.05, weight_decay=0.0)
    run(decaying, gradients[:3])
    theta = decaying.read_parameters()
    plain.restore(decaying.snapshot())
    with_decay, without = run(decaying, gradients[3:4]), run(plain, gradients[3:4])
    for name, value in theta.items():
        # inject_hyperparams holds its numbers in float32.
        np.testing.assert_allclose(with_decay[name] - without[name], -0.025 * value, rtol=1e-6)


def test_state_of_a_chain_with_the_same_part_twice(parameters, gradients):
    def factory(learning_rate):
        return optax.chain(optax.trace(0.5), optax.trace(0.25), optax.scale_by_learning_rate(learning_rate))

    optimizer = build(factory, parameters)
    run(optimizer, gradients[:2])
    state = optimizer.read_state()
    assert set(state) == {"momentum", "momentum_2"}
    for name in parameters:
        first = 0.5 * gradients[0][name] + gradients[1][name]
        np.testing.assert_allclose(state["momentum"][name], first, rtol=1e-15)
        np.testing.assert_allclose(state["momentum_2"][name], 0.25 * gradients[0][name] + first, rtol=1e-15)


def test_shipped_chains_by_hand():
    """momentum 0.5, gradients 2 and then -1, theta 4, lr 0.1, decay 0.5, worked on paper."""
    start = {"w": np.array([4.0])}
    steps = [{"w": np.array([2.0])}, {"w": np.array([-1.0])}]

    def path_of(name, **options):
        optimizer = build(f"optconform.adapters.optax_chains:{name}", start, lr=0.1, weight_decay=0.5, **options)
        return [float(run(optimizer, [step], 0.1)["w"][0]) for step in steps]

    # L2: b = 2 + 2 = 4, theta 3.6; b = 2 + (-1 + 1.8) = 2.8, theta 3.32
    assert path_of("sgd_l2", momentum=0.5) == pytest.approx([3.6, 3.32], rel=1e-14)
    # decoupled: b = 2, theta 4 - 0.2 - 0.2; b = 1 - 1 = 0, theta 3.6 - 0.18
    assert path_of("sgdw", momentum=0.5) == pytest.approx([3.6, 3.42], rel=1e-14)
    # Adam on g = 4: one sign step, theta 3.9; g = 0.95, m = (2 + 0.95)/2 = 1.475, v = (8 + 0.9025)/2, over 3/4 each
    second = 3.9 - 0.1 * (1.475 / 0.75) / np.sqrt(4.45125 / 0.75)
    assert path_of("adam_l2", b1=0.5, b2=0.5, eps=1e-30) == pytest.approx([3.9, second], rel=1e-14)


def test_device_that_jax_platforms_leaves_out(monkeypatch, parameters):
    found = jax.devices

    def devices(kind=None):
        if kind == "cpu":
            raise RuntimeError("Unknown backend cpu")
        return found(kind)

    monkeypatch.setattr(jax, "devices", devices)
    assert "cpu" not in OptaxAdapter().devices()
    with pytest.raises(MissingDevice, match="jax has no device 'cpu'"):
        build("optax:sgd", parameters, lr=0.05)
