import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

from optconform.adapters import random_generators  # noqa: E402
from optconform.adapters.jax_control_flow import has_control_flow  # noqa: E402
from optconform.adapters.optax_jax import OptaxAdapter  # noqa: E402
from optconform.adapters.targets import target_from_object  # noqa: E402

pytestmark = pytest.mark.jax


def looping(x):
    return jax.lax.fori_loop(0, 3, lambda i, y: y + x, x)


def branching(x):
    return jax.lax.cond(x > 0.0, lambda y: y, lambda y: -y, x)


def on_values(x):
    return x if x > 0.0 else -x


@pytest.mark.parametrize(
    ("function", "expected"),
    [(looping, True), (branching, True), (on_values, False), (jax.jit(looping), False), (jax.numpy.tanh, False)],
)
def test_loops_and_branches_are_found_where_they_cost(function, expected):
    assert has_control_flow(function, 1.0) is expected


def test_looking_leaves_the_random_generators_where_they_stood():
    before = random_generators.states()
    has_control_flow(lambda x: x + np.random.standard_normal(), 1.0)  # noqa: NPY002
    assert random_generators.moved(before, random_generators.states()) == ()


def test_a_loop_runs_in_python_and_no_other_function_without_jit():
    seen = []

    def made(loop):
        def factory(learning_rate):
            def update(updates, state, params=None):
                seen.append(jax.config.jax_disable_jit)
                return {name: -learning_rate(0) * loop(grad) for name, grad in updates.items()}, state

            return optax.GradientTransformation(lambda params: (), update)

        return factory

    theta = {"w": np.ones(2)}
    for loop, in_python in ((looping, True), (jax.numpy.tanh, False)):
        optimizer = OptaxAdapter().build(target_from_object(made(loop), "jax"), {"lr": 0.5}, theta)
        optimizer.step({"w": np.ones(2)}, 0.5)
        assert seen[-1] is in_python
        np.testing.assert_allclose(optimizer.read_parameters()["w"], 1.0 - 0.5 * np.asarray(loop(1.0)), rtol=1e-6)
