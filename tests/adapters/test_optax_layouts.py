"""Optax: lists, dtypes, masks, accumulation, saving; sound transformations and faulty ones."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

from optconform.adapters.errors import BuildFailed, NotSupported, StepFailed  # noqa: E402
from optconform.adapters.optax_jax import OptaxAdapter  # noqa: E402
from optconform.adapters.protocol import PLAIN, Layout, SparseRows  # noqa: E402
from optconform.adapters.targets import load_target, target_from_object  # noqa: E402

jnp = jax.numpy
pytestmark = pytest.mark.jax

PATHS = ("eager", "compiled")
SPLIT = Layout(groups=(("scale", "w"), ("b",)))


def build(target, parameters, layout=PLAIN, dtype="float64", path=None, **hyperparameters):
    found = load_target(f"optax:{target}") if isinstance(target, str) else target_from_object(target, framework="jax")
    wanted = {"lr": 0.05, "weight_decay": 0.25, **hyperparameters}
    return OptaxAdapter().build(found, wanted, parameters, dtype=dtype, path=path, layout=layout)


def run(optimizer, gradients, lr=0.05):
    for step in gradients:
        optimizer.step(step, lr)
    return optimizer.read_parameters()


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def clipped(learning_rate, weight_decay=0.0):
    """Depends on the norm of all gradients together."""
    return optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(learning_rate))


def ignores_mask(learning_rate, weight_decay=0.0, mask=None):
    """Take a mask and leave it unused."""
    return optax.adamw(learning_rate, weight_decay=weight_decay)


def injected(learning_rate, weight_decay=0.0):
    return optax.inject_hyperparams(optax.adamw)(learning_rate=learning_rate, weight_decay=weight_decay)


def test_jit_counts_as_compiled():
    assert OptaxAdapter().compiled_paths == ("compiled",)


@pytest.mark.parametrize("path", PATHS)
def test_labelled_lists_give_the_joint_run_and_every_slot(path, parameters, gradients):
    joint, split = (build("adamw", parameters, layout, path=path) for layout in (PLAIN, SPLIT))
    found, expected = run(split, gradients), run(joint, gradients)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-14)
    assert {slot: set(arrays) for slot, arrays in split.read_state().items()} == {
        slot: set(parameters) for slot in joint.read_state()
    }


def test_labelled_lists_show_what_depends_on_the_others(parameters, gradients):
    joint, split = (run(build(clipped, parameters, layout), gradients) for layout in (PLAIN, SPLIT))
    assert np.all(np.abs(joint["b"] - split["b"]) > 1e-6)


def test_groups_must_hold_every_parameter_once(parameters):
    with pytest.raises(ValueError, match="in more than one group: 'w'"):
        build("adamw", parameters, Layout(groups=(("w", "b"), ("w", "scale"))))


@pytest.mark.parametrize("path", PATHS)
def test_each_parameter_in_its_own_dtype(path, parameters, gradients):
    found = run(build("adamw", parameters, Layout(dtypes={"b": "float64"}), "float32", path), gradients)
    assert {name: value.dtype.name for name, value in found.items()} == {
        "w": "float32",
        "b": "float64",
        "scale": "float32",
    }
    double = run(build("adamw", parameters, path=path), gradients)["b"]
    # A bias correction from float32 scalars, as Optax takes it; float32 throughout is 1e-7 away and more.
    np.testing.assert_allclose(found["b"], double, rtol=1e-6)
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("groups", [(), SPLIT.groups])
@pytest.mark.parametrize("name", ["adamw", "lars"])
def test_mask_of_weight_decay(name, groups, path, parameters, gradients):
    optimizer = build(name, parameters, Layout(groups=groups, undecayed=frozenset({"b"})), path=path)
    assert optimizer.excluded == {"b"}
    found = run(optimizer, gradients)
    decayed, undecayed = (run(build(name, parameters, path=path, weight_decay=wd), gradients) for wd in (0.25, 0.0))
    np.testing.assert_allclose(found["w"], decayed["w"], rtol=1e-14)
    np.testing.assert_allclose(found["b"], undecayed["b"], rtol=1e-14)
    assert np.all(np.abs(decayed["b"] - undecayed["b"]) > 1e-6)


@pytest.mark.parametrize(
    "mask",
    [
        {"w": True, "b": False, "scale": True},
        lambda parameters: {name: name != "b" for name in parameters},
        lambda parameters: {name: np.all(np.bool_(name != "b")) for name in parameters},
    ],
    ids=["tree", "function", "NumPy's booleans"],
)
def test_masks_of_the_user_are_read_back_and_kept(mask, parameters):
    assert build("adamw", parameters, mask=mask).excluded == {"b"}
    assert build("adamw", parameters, Layout(undecayed=frozenset({"w"})), mask=mask).excluded == {"b", "w"}
    assert build("adamw", parameters, mask=None).excluded == frozenset()
    assert build("adamw", parameters, mask=False).excluded == {"w", "b", "scale"}


def test_mask_that_raises(parameters):
    def mask(parameters):
        raise RuntimeError("gone")

    with pytest.raises(BuildFailed, match="the mask of weight decay raised RuntimeError: gone"):
        build("adamw", parameters, mask=mask)


def test_mask_that_is_not_heeded_shows(parameters, gradients):
    layout = Layout(undecayed=frozenset({"b"}))
    heeded, ignored = (run(build(target, parameters, layout), gradients[:1])["b"] for target in ("adamw", ignores_mask))
    np.testing.assert_allclose(ignored - heeded, -0.05 * 0.25 * parameters["b"], rtol=1e-12)


def test_target_without_a_mask_cannot_exclude(parameters):
    with pytest.raises(NotSupported, match="no option weight_decay_mask or mask"):
        build(clipped, parameters, Layout(undecayed=frozenset({"b"})))


@pytest.mark.parametrize(("groups", "path"), [((), "eager"), ((), "compiled"), (SPLIT.groups, "compiled")])
def test_accumulated_micro_steps_are_one_step_on_their_mean(groups, path, parameters, gradients):
    accumulating = build("adamw", parameters, Layout(groups=groups, accumulate=2), path=path)
    means = [
        {name: (one[name] + other[name]) / 2 for name in one}
        for one, other in zip(gradients[::2], gradients[1::2], strict=True)
    ]
    assert_same(run(accumulating, gradients[:1]), parameters)
    found = run(accumulating, gradients[1:])
    for name, value in run(build("adamw", parameters, path=path), means).items():
        # MultiSteps's own float32 accumulator would be 1e-8 away.
        np.testing.assert_allclose(found[name], value, rtol=1e-13)


def test_accumulation_in_single_precision_is_multi_steps_as_it_comes(parameters, gradients):
    accumulating = build("adamw", parameters, Layout(accumulate=2), "float32")
    plain = optax.MultiSteps(optax.adamw(lambda count: 0.05, weight_decay=0.25), every_k_schedule=2)
    theta = {name: jnp.asarray(value, jnp.float32) for name, value in parameters.items()}
    state = plain.init(theta)
    for step in gradients[:2]:
        fed = {name: jnp.asarray(value, jnp.float32) for name, value in step.items()}
        with jax.disable_jit():  # the branches of MultiSteps op by op as well, as the adapter runs them
            updates, state = plain.update(fed, state, theta)
            theta = optax.apply_updates(theta, updates)
    assert_same(run(accumulating, gradients[:2]), {name: np.asarray(value) for name, value in theta.items()})


def test_sparse_gradients_are_not_supported(parameters, gradients):
    rows = SparseRows(np.array([1]), gradients[0]["w"][1:], (2, 3))
    with pytest.raises(NotSupported, match="gradient of 'w' is sparse"):
        build("adamw", parameters).step({**gradients[0], "w": rows}, 0.05)


def test_gradients_cannot_be_changed_by_a_step(parameters, gradients):
    optimizer = build("adamw", parameters)
    run(optimizer, gradients[:1])
    with pytest.raises(NotSupported, match="JAX's arrays cannot be changed"):
        optimizer.gradients_left()


@pytest.mark.parametrize("path", PATHS)
def test_decay_in_the_state_can_be_changed(path, parameters, gradients):
    changed, other = (build(injected, parameters, path=path, weight_decay=wd) for wd in (0.25, 0.75))
    run(changed, gradients[:2])
    other.restore(changed.snapshot())
    changed.set_weight_decay(0.75)
    assert_same(run(changed, gradients[2:]), run(other, gradients[2:]))


def test_bound_decay_cannot_be_changed(parameters):
    with pytest.raises(NotSupported, match=r"bound weight decay when it was built.*inject_hyperparams"):
        build("adamw", parameters).set_weight_decay(0.5)


@pytest.mark.parametrize(
    ("target", "layout", "path"),
    [("adamw", PLAIN, "eager"), (injected, SPLIT, "eager"), ("adamw", Layout(accumulate=2), "compiled")],
    ids=["plain", "injected in lists", "accumulating"],
)
def test_saved_run_is_the_uninterrupted_run(target, layout, path, parameters, gradients):
    first = build(target, parameters, layout, path=path)
    middle = run(first, gradients[:3])
    saved = first.save()
    assert all(isinstance(leaf, np.ndarray | int | float) for leaf in saved.leaves)
    expected = run(first, gradients[3:])
    for _ in range(2):  # what was saved can be loaded again
        other = build(target, middle, layout, path=path)
        other.load(saved)
        assert_same(run(other, gradients[3:]), expected)


def test_state_outside_the_tree_is_lost_in_saving(parameters, gradients):
    def forgetful(learning_rate, weight_decay=0.0):
        momentum = {}

        def update(updates, state, params=None):
            for name, grad in updates.items():
                momentum[name] = 0.9 * momentum.get(name, 0.0) + grad
            return {name: -learning_rate(0) * buffer for name, buffer in momentum.items()}, state

        return optax.GradientTransformation(lambda params: (), update)

    first = build(forgetful, parameters)
    other = build(forgetful, run(first, gradients[:3]))
    other.load(first.save())
    assert np.all(np.abs(run(first, gradients[3:])["w"] - run(other, gradients[3:])["w"]) > 1e-3)


def test_random_keys_are_saved(parameters, gradients):
    def noisy(learning_rate, weight_decay=0.0):
        def update(updates, state, params=None):
            key, use = jax.random.split(state)
            noise = {name: jax.random.normal(use, grad.shape, grad.dtype) for name, grad in updates.items()}
            return {name: -learning_rate(0) * (grad + noise[name]) for name, grad in updates.items()}, key

        return optax.GradientTransformation(lambda params: jax.random.key(7), update)

    first = build(noisy, parameters)
    other = build(noisy, run(first, gradients[:2]))
    other.load(first.save())
    assert_same(run(other, gradients[2:]), run(first, gradients[2:]))


def test_state_of_another_transformation_is_an_error(parameters):
    with pytest.raises(StepFailed, match="loading its state raised ValueError: the saved state is PyTreeDef"):
        build("lion", parameters).load(build("adamw", parameters).save())
    with pytest.raises(StepFailed, match=r"leaf 1 of the saved state is float32\(2,\), but should be float64\(2,\)"):
        build("adamw", parameters).load(build("adamw", parameters, dtype="float32").save())
    with pytest.raises(StepFailed, match="restoring its state raised ValueError"):
        build("lars", parameters).restore(build("adamw", parameters).snapshot())
