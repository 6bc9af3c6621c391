"""Keras: lists, dtypes, exclusion, accumulation, sparse gradients, saving; sound optimizers and faulty ones."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from optconform.adapters.errors import NotSupported, StepFailed  # noqa: E402
from optconform.adapters.keras_tf import KerasAdapter  # noqa: E402
from optconform.adapters.protocol import PLAIN, Layout, SparseRows  # noqa: E402
from optconform.adapters.targets import load_target, target_from_object  # noqa: E402

pytestmark = pytest.mark.tensorflow

GRAPHS = ("function", "compiled")
PATHS = ("eager", *GRAPHS)
ODD = {"lr": 0.05, "weight_decay": 0.25}


def build(target, parameters, layout=PLAIN, dtype="float64", path=None, **hyperparameters):
    found = load_target(f"keras.optimizers:{target}") if isinstance(target, str) else target_from_object(target)
    return KerasAdapter().build(found, {**ODD, **hyperparameters}, parameters, dtype=dtype, path=path, layout=layout)


def run(optimizer, gradients, lr=0.05):
    for step in gradients:
        optimizer.step(step, lr)
    return optimizer.read_parameters()


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


class IgnoresExclusion(keras.optimizers.SGD):
    """Decays everything, whatever it was told."""

    def _use_weight_decay(self, variable):
        super()._use_weight_decay(variable)
        return True

    def _apply_weight_decay(self, variables):
        for variable in variables:
            self.assign_sub(variable, variable * self.weight_decay * keras.ops.cast(self.learning_rate, "float64"))


class ForgetsMomentum(keras.optimizers.SGD):
    """Leaves its buffers out of what it saves."""

    def save_own_variables(self, store):
        for index, variable in enumerate(self.variables[:2]):
            store[str(index)] = variable.numpy()

    def load_own_variables(self, store):
        for index, variable in enumerate(self.variables[:2]):
            variable.assign(store[str(index)])


def test_only_xla_counts_as_compiled():
    assert KerasAdapter().compiled_paths == ("compiled",)


@pytest.mark.parametrize("path", PATHS)
def test_a_list_each_gives_the_joint_run_and_every_slot(path, parameters, gradients):
    joint = build("AdamW", parameters, path=path)
    split = build("AdamW", parameters, Layout(groups=(("scale", "w"), ("b",))), path=path)
    assert_same(run(split, gradients), run(joint, gradients))
    assert list(split.read_parameters()) == list(parameters)
    for slot, arrays in joint.read_state().items():
        assert_same(split.read_state()[slot], arrays)


def test_a_list_each_shows_what_depends_on_the_others(parameters, gradients):
    joint = run(build("SGD", parameters, global_clipnorm=0.5), gradients)
    split = run(build("SGD", parameters, Layout(groups=(("w",), ("b", "scale"))), global_clipnorm=0.5), gradients)
    assert np.all(joint["w"] != split["w"])


def test_a_list_each_counts_its_own_steps(parameters, gradients):
    layout = Layout(groups=(("w", "b"), ("scale",)))
    without = [{**gradients[0], "scale": None}, gradients[1]]
    found, other = build("Adam", parameters, layout), build("Adam", parameters, layout)
    run(found, without)
    assert_same({"scale": run(other, gradients[1:2])["scale"]}, {"scale": found.read_parameters()["scale"]})


def test_groups_must_hold_every_parameter_once(parameters):
    with pytest.raises(ValueError, match="in no group: 'scale'"):
        build("SGD", parameters, Layout(groups=(("w", "b"),)))


@pytest.mark.parametrize("path", PATHS)
def test_each_parameter_in_its_own_dtype(path, parameters, gradients):
    found = run(build("AdamW", parameters, Layout(dtypes={"b": "float32"}), path=path), gradients)
    assert {name: value.dtype.name for name, value in found.items()} == {
        "w": "float64",
        "b": "float32",
        "scale": "float64",
    }
    assert_same({"b": found["b"]}, {"b": run(build("AdamW", parameters, dtype="float32", path=path), gradients)["b"]})
    assert_same({"w": found["w"]}, {"w": run(build("AdamW", parameters, path=path), gradients)["w"]})


@pytest.mark.parametrize("path", PATHS)
def test_exclusion_from_decay(path, parameters, gradients):
    optimizer = build("AdamW", parameters, Layout(undecayed=frozenset({"b"})), path=path)
    assert optimizer.excluded == {"b"}
    found = run(optimizer, gradients)
    decayed, undecayed = (run(build("AdamW", parameters, weight_decay=wd), gradients) for wd in (0.25, 0.0))
    np.testing.assert_allclose(found["w"], decayed["w"], rtol=1e-14)
    np.testing.assert_allclose(found["b"], undecayed["b"], rtol=1e-14)
    assert np.all(np.abs(decayed["b"] - undecayed["b"]) > 1e-3)


def test_exclusion_by_group(parameters):
    optimizer = build("AdamW", parameters, Layout(groups=(("w",), ("b", "scale")), undecayed=frozenset({"w", "scale"})))
    assert optimizer.excluded == {"w", "scale"}


def test_what_a_factory_excludes_is_read_back_and_kept(parameters):
    def factory(learning_rate=0.1, weight_decay=0.1):
        optimizer = keras.optimizers.AdamW(learning_rate, weight_decay)
        optimizer.exclude_from_weight_decay(var_names=["^b_", "^nothing"])
        return optimizer

    assert build("AdamW", parameters).excluded == frozenset()
    assert build(factory, parameters).excluded == {"b"}
    assert build(factory, parameters, Layout(undecayed=frozenset({"scale"}))).excluded == {"b", "scale"}


def test_exclusion_that_is_not_heeded_shows(parameters, gradients):
    def excluding(target):
        return run(build(target, parameters, Layout(undecayed=frozenset({"b"}))), gradients[:1])["b"]

    undecayed = parameters["b"] - np.float64(np.float32(0.05)) * gradients[0]["b"]
    np.testing.assert_allclose(excluding("SGD"), undecayed, rtol=1e-15)
    assert np.all(np.abs(excluding(IgnoresExclusion) - undecayed) > 1e-3)


def test_target_without_the_method_cannot_exclude(parameters):
    class Bare:
        """As little as a Keras target needs."""

        def __init__(self, learning_rate=0.1, weight_decay=0.0):
            self.learning_rate = learning_rate

        def build(self, variables):
            """Do nothing."""

        def apply(self, grads, variables):
            """Do nothing."""

    found = target_from_object(Bare, framework="tensorflow")
    with pytest.raises(NotSupported, match="has no method exclude_from_weight_decay"):
        KerasAdapter().build(found, ODD, parameters, layout=Layout(undecayed=frozenset({"b"})))


@pytest.mark.parametrize("path", PATHS)
def test_accumulated_micro_steps_are_one_step_on_their_mean(path, parameters, gradients):
    accumulating = build("AdamW", parameters, Layout(accumulate=2), path=path)
    means = [
        {name: (one[name] + other[name]) / 2 for name in one}
        for one, other in zip(gradients[::2], gradients[1::2], strict=True)
    ]
    assert_same(run(accumulating, gradients[:1]), parameters)
    found = run(accumulating, gradients[1:])
    for name, value in run(build("AdamW", parameters, path=path), means).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-14)


def test_factory_that_hides_accumulation_cannot_accumulate(parameters):
    def factory(learning_rate=0.1):
        return keras.optimizers.SGD(learning_rate)

    with pytest.raises(NotSupported, match="no option that accumulates gradients"):
        KerasAdapter().build(target_from_object(factory), {}, parameters, layout=Layout(accumulate=2))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_sparse_gradient_is_the_dense_one_in_keras(name, path, parameters, gradients):
    rows = SparseRows(np.array([1]), gradients[0]["w"][1:], (2, 3))
    sparse = [{**step, "w": rows} for step in gradients[:2]]
    dense = [{**step, "w": rows.dense()} for step in gradients[:2]]
    assert_same(run(build(name, parameters, path=path), sparse), run(build(name, parameters, path=path), dense))


def test_sparse_gradient_reaches_the_optimizer_as_slices(parameters, gradients):
    seen = []

    class Sees(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            seen.append(type(gradient).__name__)

    rows = SparseRows(np.array([0]), gradients[0]["w"][:1], (2, 3))
    run(build(Sees, parameters), [{**gradients[0], "w": rows}])
    assert seen[0] == "IndexedSlices"
    assert "IndexedSlices" not in seen[1:]


def test_gradients_cannot_be_changed_by_a_step(parameters, gradients):
    optimizer = build("SGD", parameters)
    run(optimizer, gradients[:1])
    with pytest.raises(NotSupported, match="TensorFlow's tensors cannot be changed"):
        optimizer.gradients_left()


def test_decay_changed_between_steps(parameters, gradients):
    optimizer, other = build("AdamW", parameters), build("AdamW", parameters, weight_decay=0.75)
    run(optimizer, gradients[:2])
    other.restore(optimizer.snapshot())
    optimizer.set_weight_decay(0.75)
    assert_same(run(optimizer, gradients[2:]), run(other, gradients[2:]))


@pytest.mark.parametrize("path", GRAPHS)
def test_decay_that_a_trace_took_over_cannot_be_changed(path, parameters, gradients):
    optimizer = build("AdamW", parameters, path=path)
    run(optimizer, gradients[:1])
    with pytest.raises(NotSupported, match=r"weight_decay as a plain number, which tf\.function took over"):
        optimizer.set_weight_decay(0.75)


@pytest.mark.parametrize("path", PATHS)
def test_decay_in_a_variable_can_be_changed_anywhere(path, parameters, gradients):
    class DecayVariable(keras.optimizers.SGD):
        def __init__(self, learning_rate=0.1, weight_decay=0.0):
            super().__init__(learning_rate)
            self.weight_decay = keras.Variable(weight_decay, dtype="float64", trainable=False)

    optimizer, other = build(DecayVariable, parameters, path=path), build("SGD", parameters, path=path)
    run(optimizer, gradients[:1])
    optimizer.set_weight_decay(0.0)
    run(other, gradients[:1])
    undecayed = build("SGD", parameters, path=path, weight_decay=0.0)
    undecayed.restore(other.snapshot())
    assert_same(run(optimizer, gradients[1:2]), run(undecayed, gradients[1:2]))


def test_decay_kept_elsewhere_cannot_be_changed(parameters):
    class Elsewhere(keras.optimizers.SGD):
        def __init__(self, learning_rate=0.1, weight_decay=0.0):
            super().__init__(learning_rate)
            self.shrinkage = weight_decay

    with pytest.raises(NotSupported, match=r"was given weight decay 0\.25, but its attribute weight_decay holds None"):
        build(Elsewhere, parameters).set_weight_decay(0.5)


def test_decay_that_was_off_can_be_turned_on(parameters, gradients):
    optimizer = build("Adam", parameters, weight_decay=None)
    optimizer.set_weight_decay(0.25)
    assert_same(run(optimizer, gradients[:1]), run(build("Adam", parameters), gradients[:1]))


def test_optimizer_without_the_attribute_cannot_change_decay(parameters):
    class Renames(keras.optimizers.SGD):
        def __delattr__(self, name):
            object.__delattr__(self, name)

    optimizer = build(Renames, parameters)
    del optimizer.optimizer.weight_decay
    with pytest.raises(NotSupported, match=r"has no attribute .*weight_decay"):
        optimizer.set_weight_decay(0.5)


@pytest.mark.parametrize("groups", [(), (("w",), ("b", "scale"))])
def test_saved_run_is_the_uninterrupted_run(groups, parameters, gradients):
    first = build("AdamW", parameters, Layout(groups=groups))
    middle = run(first, gradients[:3])
    saved = first.save()
    expected = run(first, gradients[3:])
    for _ in range(2):  # what was saved can be loaded again
        other = build("AdamW", middle, Layout(groups=groups))
        other.load(saved)
        assert_same(run(other, gradients[3:]), expected)


def test_save_that_leaves_something_out_shows(parameters, gradients):
    def resumed(target):
        first = build(target, parameters, momentum=0.9)
        other = build(target, run(first, gradients[:3]), momentum=0.9)
        other.load(first.save())
        return run(first, gradients[3:])["w"], run(other, gradients[3:])["w"]

    np.testing.assert_array_equal(*resumed("SGD"))
    assert np.all(np.abs(np.subtract(*resumed(ForgetsMomentum))) > 1e-3)


def test_store_that_keras_would_skip_is_an_error(parameters):
    saved = build("SGD", parameters).save()
    with pytest.raises(StepFailed, match=r"load_own_variables\(\) raised UserWarning: Skipping variable loading"):
        build("SGD", parameters, momentum=0.9).load(saved)


def test_snapshot_of_another_shape_is_an_error(parameters):
    snapshot = build("SGD", parameters).snapshot()
    with pytest.raises(StepFailed, match="assigning its variables raised ValueError"):
        build("AdamW", parameters).restore(snapshot)
