"""Every way of executing a course of steps of Keras on TensorFlow: what is sound proves itself, what is not cannot."""

from functools import partial

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from optconform.adapters import keras_list  # noqa: E402
from optconform.adapters.arrays import host_copies  # noqa: E402
from optconform.adapters.errors import MissingDevice, NotSupported  # noqa: E402
from optconform.adapters.execution import Feed, Opening, load_runtime  # noqa: E402
from optconform.adapters.keras_executed import KerasExecuted  # noqa: E402
from optconform.adapters.keras_masters import MasterWay  # noqa: E402
from optconform.adapters.keras_tf import KerasAdapter  # noqa: E402
from optconform.adapters.keras_ways import eager, misplaced  # noqa: E402
from optconform.adapters.protocol import SparseRows  # noqa: E402
from optconform.adapters.targets import load_target, target_from_object  # noqa: E402

pytestmark = pytest.mark.tensorflow

OPTIONS = {"lr": 0.05, "weight_decay": 0.25}
WAYS = ("eager", "function", "compiled", "loss-scale")


@pytest.fixture(scope="module")
def runtime():
    return load_runtime("tensorflow")


@pytest.fixture
def feeds(gradients):
    """Six steps at rates that fall, in two of which a parameter has no gradient."""
    gradients[1] = {**gradients[1], "b": None}
    gradients[4] = {**gradients[4], "b": None}
    return [Feed(each, 0.05 / (count + 1)) for count, each in enumerate(gradients)]


def opened(runtime, execution, parameters, feeds, target="AdamW", dtype="float32", **options):
    found = load_target(f"keras.optimizers:{target}") if isinstance(target, str) else target_from_object(target)
    return runtime.executions[execution].open(Opening(found, {**OPTIONS, **options}, parameters, feeds, dtype, "cpu"))


def played(*args, **options):
    executed = opened(*args, **options)
    for feed in args[3]:
        executed.step(feed.gradients, feed.lr)
    return executed


def by_the_adapter(parameters, feeds, target="AdamW", dtype="float32", path="eager"):
    optimizer = KerasAdapter().build(
        load_target(f"keras.optimizers:{target}"), OPTIONS, parameters, dtype=dtype, path=path
    )
    for feed in feeds:
        optimizer.step(feed.gradients, feed.lr)
    return optimizer


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == expected[name].dtype
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.parametrize("execution", WAYS)
def test_a_sound_course_proves_itself_and_steps_as_the_adapter_does(execution, runtime, parameters, feeds):
    executed = played(runtime, execution, parameters, feeds)
    proof = executed.proof()
    assert (proof.on_path, proof.on_device) == (True, True), proof.observed
    plain = by_the_adapter(parameters, feeds, path="eager" if execution == "loss-scale" else execution)
    assert_same_bits(executed.read_parameters(), plain.read_parameters())
    for slot, arrays in plain.read_state().items():
        assert_same_bits(executed.read_state()[slot], arrays)
    assert (executed.held, executed.casts, executed.scalars_in) == (plain.held, plain.casts, plain.scalars_in)


@pytest.mark.parametrize("execution", WAYS)
def test_nothing_is_proved_before_the_first_step(execution, runtime, parameters, feeds):
    proof = opened(runtime, execution, parameters, feeds).proof()
    assert (proof.on_path, proof.on_device) == (False, True)
    assert "no step was made yet" in proof.observed


def test_sgd_without_state_and_float64_prove_themselves(runtime, parameters, feeds):
    for execution in ("eager", "function", "loss-scale"):
        executed = played(runtime, execution, parameters, feeds, target="SGD", dtype="float64")
        assert executed.proof().on_path, executed.proof().observed
        assert_same_bits(
            executed.read_parameters(), by_the_adapter(parameters, feeds, "SGD", "float64").read_parameters()
        )


class InsideAFunction(keras.optimizers.SGD):
    """What says that it is eager, and has TensorFlow run a graph."""

    def apply(self, grads, trainable_variables=None):
        variables = list(trainable_variables)
        apply = super().apply
        tf.function(lambda *given: apply(list(given), variables))(*grads)


class BackInPython(keras.optimizers.SGD):
    """What lies in a graph, and computes in Python."""

    def update_step(self, gradient, variable, learning_rate):
        shape = gradient.shape
        gradient = tf.numpy_function(np.copy, [gradient], gradient.dtype)
        gradient.set_shape(shape)
        super().update_step(gradient, variable, learning_rate)


def test_an_eager_course_that_runs_a_graph_is_no_eager_course(runtime, parameters, feeds):
    proof = played(runtime, "eager", parameters, feeds, target=InsideAFunction).proof()
    assert not proof.on_path
    assert "traced" in proof.observed


def test_a_graph_that_calls_python_is_no_function(runtime, parameters, feeds):
    proof = played(runtime, "function", parameters, feeds, target=BackInPython).proof()
    assert not proof.on_path
    assert "the graph calls Python by PyFunc" in proof.observed


def test_a_function_that_is_not_made_is_missed(runtime, parameters, feeds, monkeypatch):
    monkeypatch.setitem(keras_list.PATHS, "function", None)
    proof = played(runtime, "function", parameters, feeds).proof()
    assert not proof.on_path
    assert "by 0 graph(s)" in proof.observed


def test_a_function_that_xla_does_not_compile_is_not_compiled(runtime, parameters, feeds, monkeypatch):
    monkeypatch.setitem(keras_list.PATHS, "compiled", {})
    proof = played(runtime, "compiled", parameters, feeds).proof()
    assert not proof.on_path
    assert "XLA must compile 0 of them" in proof.observed


def test_steps_that_count_nothing_are_missed(runtime, parameters, feeds, monkeypatch):
    executed = opened(runtime, "function", parameters, feeds)
    optimizer = executed._reads.optimizer
    for feed in feeds:
        executed.step(feed.gradients, feed.lr)
    optimizer._iterations.assign(2)
    assert not executed.proof().on_path
    assert "2 of 6 steps" in executed.proof().observed


def test_variables_elsewhere_are_seen(parameters, feeds):
    optimizer = by_the_adapter(parameters, feeds)
    assert misplaced(optimizer, "cpu") == []
    astray = misplaced(optimizer, "gpu:0")
    assert {"w", "m of w", "v of scale"} <= set(astray)
    executed = KerasExecuted(
        optimizer, eager(optimizer), device="gpu:0", backend="x", misplaced=partial(misplaced, optimizer, "gpu:0")
    )
    executed.step(feeds[0].gradients, 0.05)
    proof = executed.proof()
    assert (proof.on_path, proof.on_device) == (True, False)
    assert "not on gpu:0: b, m of b" in proof.observed


def test_a_scale_too_large_is_halved_until_the_step_fits(runtime, parameters, feeds):
    fed = [Feed({name: 8 * value for name, value in feeds[0].gradients.items()}, 0.05), *feeds[1:]]
    executed = played(runtime, "loss-scale", parameters, fed, dtype="float16")
    proof = executed.proof()
    assert proof.on_path, proof.observed
    assert "2 with a planted infinity and 0 overflowed" not in proof.observed
    assert_same_bits(executed.read_parameters(), by_the_adapter(parameters, fed, dtype="float16").read_parameters())


def test_a_gradient_that_is_never_finite_proves_nothing(runtime, parameters, feeds):
    fed = [Feed({**feeds[0].gradients, "scale": np.array(np.nan)}, 0.05)]
    assert "not finite even at the scale 1" in played(runtime, "loss-scale", parameters, fed).proof().observed


def applied_anyway(monkeypatch):
    monkeypatch.setattr(keras.optimizers.LossScaleOptimizer, "check_finite", lambda self, grads: tf.constant(True))


def never_halved(monkeypatch):
    monkeypatch.setattr(keras.optimizers.LossScaleOptimizer, "_stateful_handle_non_finite_grads", lambda self: None)


def a_moment_changed(monkeypatch):
    original = keras.optimizers.LossScaleOptimizer._stateful_handle_non_finite_grads

    def handled(self):
        original(self)
        self.inner_optimizer._velocities[1].assign_add(np.full(2, 2.0**-40, np.float32))

    monkeypatch.setattr(keras.optimizers.LossScaleOptimizer, "_stateful_handle_non_finite_grads", handled)


def counted_twice(monkeypatch):
    original = keras.optimizers.LossScaleOptimizer._stateful_handle_finite_grads

    def handled(self, grads, variables):
        original(self, grads, variables)
        self.inner_optimizer._iterations.assign_add(1)

    monkeypatch.setattr(keras.optimizers.LossScaleOptimizer, "_stateful_handle_finite_grads", handled)


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (applied_anyway, "a step with an infinite gradient was applied"),
        (never_halved, "the loss scale is 32768 where 16384 was due"),
        (a_moment_changed, "a skipped step changed parameters or state"),
        (counted_twice, "one step was counted 2 times"),
    ],
)
def test_a_loss_scale_that_does_not_do_its_work_is_named(fault, named, runtime, parameters, feeds, monkeypatch):
    fault(monkeypatch)
    proof = played(runtime, "loss-scale", parameters, feeds).proof()
    assert not proof.on_path
    assert named in proof.observed


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_masters_are_stepped_in_float32_from_low_precision_values(dtype, runtime, parameters, feeds):
    parameters["w"] = parameters["w"] + 1e-3  # in none of the 16-bit formats
    execution = runtime.executions["master-weights"]
    assert execution.steps_in[dtype] == "float32"
    executed = opened(runtime, "master-weights", parameters, feeds, dtype=dtype)
    narrow = host_copies(parameters, dtype)
    assert_same_bits(executed.read_parameters(), host_copies(narrow, "float32"))
    for feed in feeds:
        executed.step({k: g if g is None else g + 1e-4 for k, g in feed.gradients.items()}, feed.lr)
    proof = executed.proof()
    assert (proof.on_path, proof.on_device) == (True, True), proof.observed
    rounded = [
        Feed({k: g if g is None else host_copies({k: g + 1e-4}, dtype)[k] for k, g in feed.gradients.items()}, feed.lr)
        for feed in feeds
    ]
    assert_same_bits(executed.read_parameters(), by_the_adapter(narrow, rounded).read_parameters())
    assert executed.scalars_in is None


def test_a_model_that_is_not_the_rounding_of_its_masters_is_named(runtime, parameters, feeds, monkeypatch):
    def truncated(self, master):
        bits = tf.bitcast(master.value, tf.uint32)
        return tf.cast(tf.bitcast(tf.bitwise.bitwise_and(bits, np.uint32(0xFFFF0000)), tf.float32), self._dtype)

    monkeypatch.setattr(MasterWay, "rounded", truncated)
    proof = played(runtime, "master-weights", parameters, feeds, dtype="bfloat16").proof()
    assert not proof.on_path
    assert "is not the rounding of its master" in proof.observed


def test_masters_that_are_narrow_themselves_are_named(parameters, feeds):
    optimizer = KerasAdapter().build(load_target("keras.optimizers:AdamW"), OPTIONS, parameters, dtype="bfloat16")
    way = MasterWay(optimizer, parameters, "bfloat16")
    way.step(feeds[0].gradients, 0.05)
    good, said = way.seen()
    assert not good
    assert "is bfloat16, the model's weight bfloat16" in said


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_model_that_needs_no_masters_has_no_such_way(dtype, runtime, parameters, feeds):
    with pytest.raises(NotSupported, match=f"bfloat16 or float16, not in {dtype}"):
        opened(runtime, "master-weights", parameters, feeds, dtype=dtype)


@pytest.mark.parametrize(("execution", "dtype"), [("loss-scale", "float32"), ("master-weights", "float16")])
def test_sparse_gradients_have_no_such_way(execution, dtype, runtime, parameters, feeds):
    rows = SparseRows(np.array([1]), np.ones((1, 3)), (2, 3))
    executed = opened(runtime, execution, parameters, feeds, dtype=dtype)
    with pytest.raises(NotSupported, match="the gradient of 'w' is sparse"):
        executed.step({**feeds[0].gradients, "w": rows}, 0.05)


def test_a_device_that_is_not_there_is_missed(runtime, parameters, feeds):
    if len(runtime.devices()) > 1:
        pytest.skip("there is a GPU")
    with pytest.raises(MissingDevice, match="tensorflow has no device 'cuda'"):
        runtime.executions["eager"].open(
            Opening(load_target("keras.optimizers:AdamW"), OPTIONS, parameters, feeds, "float32", "cuda")
        )


def test_what_is_recorded_of_the_process(runtime, monkeypatch):
    assert runtime.versions().keys() == {"tensorflow", "keras", "numpy"}
    assert runtime.describe("cpu")["name"]
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "1")
    flags = runtime.flags()
    assert flags["TF_DETERMINISTIC_OPS"] == "1"
    before = flags["tensor_float_32"]
    try:
        tf.config.experimental.enable_tensor_float_32_execution(before != "True")
        assert runtime.flags()["tensor_float_32"] != before
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before == "True")
    assert flags["deterministic_ops"] == "False"


def test_a_gpu_is_described_by_what_tensorflow_tells(runtime, monkeypatch):
    details = {"device_name": "A GPU", "compute_capability": (9, 0)}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["first", "second"])
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda device: details if device == "second" else {}
    )
    described = runtime.describe("gpu:1")
    assert (described["name"], described["capability"]) == ("A GPU", "9.0")
    assert "name" not in runtime.describe("gpu:0")
