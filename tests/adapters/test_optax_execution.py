"""Optax's executions: each computes what the others do, and proves that it was executed as asked."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import ml_dtypes  # noqa: E402

from optconform.adapters import jax_devices, optax_scan, optax_skipping, optax_stepped  # noqa: E402
from optconform.adapters.arrays import host_copies  # noqa: E402
from optconform.adapters.errors import NotReplayable, NotSupported, PathNotTaken  # noqa: E402
from optconform.adapters.execution import Feed, Opening, load_runtime  # noqa: E402
from optconform.adapters.optax_masters import is_rounding  # noqa: E402
from optconform.adapters.protocol import SparseRows  # noqa: E402
from optconform.adapters.targets import load_target, target_from_object  # noqa: E402
from optconform.conformance.matching import match_trajectory  # noqa: E402
from optconform.conformance.traces import MemoryTrace, find_trace  # noqa: E402
from optconform.gpu_ci.played_walker import PlayedWalker  # noqa: E402
from optconform.gpu_ci.playing import Course, as_handed_over, play  # noqa: E402

pytestmark = pytest.mark.jax

RUNTIME = load_runtime("jax")
IN_FLOAT64 = [name for name in RUNTIME.executions if name != "master-weights"]
MOMENTUM = 0.5


@pytest.fixture
def feeds(gradients):
    """Six steps, of which the second has no gradient for one parameter; all rates are powers of two."""
    gradients[1]["b"] = None
    return [Feed(each, 2.0**-step) for step, each in enumerate(gradients)]


def opened(execution, target, parameters, feeds, dtype="float64", device="cpu", **hyperparameters):
    found = load_target(target) if isinstance(target, str) else target_from_object(target, framework="jax")
    opening = Opening(found, {"lr": 0.5, **hyperparameters}, parameters, feeds, dtype, device)
    return RUNTIME.executions[execution].open(opening)


def played(executed, feeds):
    for feed in feeds:
        executed.step(feed.gradients, feed.lr)
    return executed.proof()


def momentum_sgd(parameters, feeds):
    """SGD with the learning rate outside of the momentum; no operation on these values rounds."""
    theta = dict(parameters)
    buffer = {name: np.zeros_like(each) for name, each in theta.items()}
    for feed in feeds:
        for name, grad in feed.gradients.items():
            buffer[name] = MOMENTUM * buffer[name] + (0.0 if grad is None else grad)
            theta[name] = theta[name] - feed.lr * buffer[name]
        yield dict(theta), dict(buffer)


def plain_sgd(counted=lambda state: state + 1, start=lambda parameters: 0, value=lambda lr, grad: -lr * grad):
    """Return a factory of plain SGD with a counter, in which a fault can be put."""

    def factory(learning_rate):
        def update(updates, state, params=None):
            return jax.tree_util.tree_map(lambda grad: value(learning_rate(0), grad), updates), counted(state)

        return optax.GradientTransformation(start, update)

    return factory


def with_inner_loop(learning_rate):
    """SGD that scales by the learning rate in a loop of its own."""

    def update(updates, state, params=None):
        def halved(grad):
            return jax.lax.fori_loop(0, 3, lambda _, each: each * 0.5, grad) * -learning_rate(0)

        return jax.tree_util.tree_map(halved, updates), state

    return optax.GradientTransformation(lambda parameters: (), update)


@pytest.mark.parametrize(
    ("execution", "dtype"),
    [
        *((name, "float32") for name in ("eager", "jit", "donated", "scan", "apply-if-finite")),
        ("x64", "float64"),
        ("master-weights", "bfloat16"),
    ],
)
def test_a_course_stays_inside_the_bound_and_is_proved(execution, dtype):
    row, whole, target = RUNTIME.executions[execution], find_trace("digits_mlp"), load_target("optax:adamw")
    steps = tuple(step.gradients for step in whole.steps(12))
    trace = MemoryTrace(whole.name, whole.parameters, whole.multipliers[:12], whole.initial_parameters(), steps)
    course = Course(target, {"lr": 1e-3, "weight_decay": 1e-2}, trace, dtype)
    done = play(RUNTIME, row, course, "cpu")
    given = as_handed_over(trace, dtype) if dtype in row.steps_in else trace
    match = match_trajectory(PlayedWalker(target, done, "cpu"), [given]).match
    assert match.rule == "adamw"
    assert 0 < match.bound_ratio <= 1
    assert done.proof.on_path, done.proof.observed
    assert done.proof.on_device, done.proof.observed


@pytest.mark.parametrize("execution", IN_FLOAT64)
def test_parameters_and_state_after_each_step(execution, parameters, feeds):
    executed = opened(execution, "optax:sgd", parameters, feeds, momentum=MOMENTUM)
    for name, value in executed.read_parameters().items():
        np.testing.assert_array_equal(value, parameters[name])
    assert not np.any(executed.read_state()["momentum"]["w"])
    for feed, (theta, buffer) in zip(feeds, momentum_sgd(parameters, feeds), strict=True):
        executed.step(feed.gradients, feed.lr)
        reached, state = executed.read_parameters(), executed.read_state()
        for name in theta:
            np.testing.assert_array_equal(reached[name], theta[name])
            np.testing.assert_array_equal(state["momentum"][name], buffer[name])
        assert executed.read_parameters(["b"]).keys() == {"b"}
        reached["w"][:] = 7.0
        assert not np.any(executed.read_parameters()["w"] == 7.0)
    proof = executed.proof()
    assert proof.on_path, proof.observed
    assert proof.on_device, proof.observed


@pytest.mark.parametrize("execution", ["eager", "jit", "scan"])
def test_learning_rate_takes_the_dtype_of_what_it_scales(execution, parameters, feeds):
    def scaled(lr, grad):
        assert (lr * grad).dtype == "bfloat16"
        return -lr * grad

    assert played(opened(execution, plain_sgd(value=scaled), parameters, feeds, "bfloat16"), feeds).on_path


@pytest.mark.parametrize("execution", RUNTIME.executions)
def test_nothing_is_proved_before_the_first_step(execution, parameters, feeds):
    dtype = "bfloat16" if execution == "master-weights" else "float64"
    assert not opened(execution, "optax:sgd", parameters, feeds, dtype).proof().on_path


@pytest.mark.parametrize("execution", ["jit", "donated", "scan"])
def test_a_number_in_the_state_may_become_an_array(execution, parameters, feeds):
    """A Python float is weakly typed, what the first step makes of it is not: two programs, or a carry retyped."""
    target = plain_sgd(lambda state: jax.numpy.asarray(state, "float64") + 1, lambda parameters: 0.0)
    proof = played(opened(execution, target, parameters, feeds), feeds)
    assert proof.on_path, proof.observed


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_masters_keep_what_the_model_rounds_away(dtype, parameters, feeds):
    executed = opened("master-weights", "optax:sgd", parameters, feeds, dtype, momentum=MOMENTUM)
    start = host_copies(host_copies(parameters, dtype), "float32")
    given = [
        Feed({n: g if g is None else host_copies({n: g}, dtype)[n].astype("f4") for n, g in f.gradients.items()}, f.lr)
        for f in feeds
    ]
    for feed, (theta, _) in zip(feeds, momentum_sgd(start, given), strict=True):
        executed.step(feed.gradients, feed.lr)
        reached = executed.read_parameters()
        for name, value in theta.items():
            assert reached[name].dtype == "float32"
            np.testing.assert_array_equal(reached[name], value)
            np.testing.assert_array_equal(np.asarray(executed.model[name]), host_copies({name: value}, dtype)[name])
    proof = executed.proof()
    assert proof.on_path, proof.observed
    assert f"gradients in {dtype}, masters in float32, model in {dtype}" in proof.observed


@pytest.mark.parametrize(("execution", "dtype"), [("x64", "float32"), ("master-weights", "float32")])
def test_a_way_that_a_dtype_has_not_is_not_taken(execution, dtype, parameters, feeds):
    with pytest.raises(PathNotTaken, match=f"{execution} is for .*no such way in {dtype}"):
        opened(execution, "optax:sgd", parameters, feeds, dtype)


def test_scan_is_given_what_was_announced(parameters, feeds):
    executed = opened("scan", "optax:sgd", parameters, feeds)
    with pytest.raises(ValueError, match="step 1 got another gradient or learning rate"):
        executed.step(feeds[0].gradients, 0.3)
    with pytest.raises(ValueError, match="step 1 got another"):
        executed.step(feeds[1].gradients, feeds[0].lr)
    equal = {name: np.array(grad) for name, grad in feeds[0].gradients.items()}
    executed.step(equal, feeds[0].lr)
    played(executed, feeds[1:])
    with pytest.raises(ValueError, match="opened with 6 steps, and all have been made"):
        executed.step(feeds[0].gradients, feeds[0].lr)


@pytest.mark.parametrize("execution", ["donated", "scan"])
def test_what_gradients_cannot_drive_is_told(execution, parameters, feeds):
    def factory(learning_rate):
        def update(updates, state, params=None, *, value):
            return updates, state

        return optax.GradientTransformationExtraArgs(lambda parameters: (), update)

    with pytest.raises(NotReplayable, match=r"needs value"):
        played(opened(execution, factory, parameters, feeds), feeds)
    sparse = {**feeds[0].gradients, "w": SparseRows(np.array([0]), np.ones((1, 3)), (2, 3))}
    with pytest.raises(NotSupported, match="sparse"):
        played(opened(execution, "optax:sgd", parameters, [Feed(sparse, 0.5)]), [Feed(sparse, 0.5)])


def test_buffers_that_a_step_does_not_read_are_donated_too(parameters, feeds):
    """The state of optax.adafactor has placeholders of this kind."""
    unread = plain_sgd(lambda state: jax.numpy.zeros(1), lambda parameters: jax.numpy.zeros(1))
    proof = played(opened("donated", unread, parameters, feeds), feeds)
    assert proof.on_path, proof.observed


def test_an_array_in_two_places_is_not_donated(parameters, feeds):
    shared = plain_sgd(lambda state: state, lambda parameters: parameters)
    with pytest.raises(PathNotTaken, match="donates no buffer twice"):
        opened("donated", shared, parameters, feeds)


def test_a_device_that_keeps_donated_buffers_is_told(parameters, feeds, monkeypatch):
    monkeypatch.setattr(optax_stepped, "keeps", lambda dtype: dtype == "bfloat16")
    with pytest.raises(PathNotTaken, match=r"keeps buffers of bfloat16 on .* although they are donated"):
        opened("donated", "optax:sgd", parameters, feeds, "bfloat16")
    opened("donated", "optax:sgd", parameters, feeds, "float32")


# Planted faults: what was asked for is not what runs, and the numbers are the same.


def test_eager_that_was_compiled(parameters, feeds):
    executed = opened("eager", "optax:sgd", parameters, feeds)
    executed.optimizer.advance = jax.jit(executed.optimizer.update)
    proof = played(executed, feeds)
    assert not proof.on_path
    assert "update() ran on arrays never and was traced once" in proof.observed


@pytest.mark.parametrize("execution", ["jit", "donated", "x64"])
def test_compiled_that_ran_in_python(execution, parameters, feeds):
    executed = opened(execution, plain_sgd(), parameters, feeds)
    executed.optimizer.advance = executed.optimizer.update
    proof = played(executed, feeds)
    assert not proof.on_path
    assert "update() ran on arrays " in proof.observed


def test_jit_that_compiles_every_step(parameters, feeds):
    executed = opened("jit", "optax:sgd", parameters, feeds)
    update = executed.optimizer.update
    executed.optimizer.advance = lambda *arguments: jax.jit(lambda *given: update(*given))(*arguments)
    proof = played(executed, feeds)
    assert not proof.on_path
    assert "traced 6 times" in proof.observed


def test_jit_whose_learning_rate_is_a_constant_of_the_program(parameters, feeds):
    executed = opened("jit", "optax:sgd", parameters, feeds)
    executed.optimizer.advance = jax.jit(executed.optimizer.update, static_argnums=3)
    assert not played(executed, feeds).on_path


def test_donated_that_kept_its_buffers(parameters, feeds):
    executed = opened("donated", "optax:sgd", parameters, feeds)
    executed.optimizer.advance = jax.jit(executed.optimizer.update, donate_argnums=1)
    proof = played(executed, feeds)
    assert not proof.on_path
    assert "18 outlived it" in proof.observed


def test_x64_with_a_state_in_single_precision(parameters, feeds):
    target = plain_sgd(lambda state: state * 2, lambda parameters: jax.numpy.ones(2, "float32"))
    proof = played(opened("x64", target, parameters, feeds), feeds)
    assert not proof.on_path
    assert "its numbers were in float32, float64" in proof.observed


@pytest.mark.parametrize("target", ["optax:sgd", with_inner_loop])
def test_scan_that_was_unrolled(target, parameters, feeds, monkeypatch):
    """A loop inside of each step is no loop over the steps."""
    scan = jax.lax.scan
    assert played(opened("scan", target, parameters, feeds), feeds).on_path
    with monkeypatch.context() as patch:
        patch.setattr(jax.lax, "scan", lambda *arguments, **options: scan(*arguments, **{**options, "unroll": 6}))
        proof = played(opened("scan", target, parameters, feeds), feeds)
        assert not proof.on_path
        assert "no loop over 6 steps; update() ran on arrays never and was traced once" in proof.observed


def test_scan_that_is_a_loop_in_python(parameters, feeds, monkeypatch):
    def unrolled(body, carry, fed):
        reached = []
        for step in range(6):
            carry, after = body(carry, jax.tree_util.tree_map(lambda each, at=step: each[at], fed))
            reached.append(after)
        return carry, jax.tree_util.tree_map(lambda *each: jax.numpy.stack(each), *reached)

    monkeypatch.setattr(jax.lax, "scan", unrolled)
    proof = played(opened("scan", "optax:sgd", parameters, feeds), feeds)
    assert not proof.on_path
    assert "traced 6 times" in proof.observed


def test_loops_are_found_by_what_they_carry():
    theta = {"w": np.ones((2, 3), "float32"), "b": np.ones(2, "float32")}
    line = "%4:5 = stablehlo.while(%iterArg = %2, %iterArg_0 = %c) : tensor<i32>, tensor<6x2x3xf32>, {}"
    assert optax_scan.loops_over(line.format("tensor<6x2xf32>"), 6, theta)
    assert not optax_scan.loops_over(line.format("tensor<2xf32>"), 6, theta)
    assert not optax_scan.loops_over(line.format("tensor<6x2xf64>"), 6, theta)
    assert not optax_scan.loops_over(line.format("tensor<6x2xf32>").replace("while", "add"), 6, theta)


def test_a_course_of_one_step_needs_no_loop(parameters, feeds):
    proof = played(opened("scan", "optax:sgd", parameters, feeds[:1]), feeds[:1])
    assert proof.on_path, proof.observed


def test_masters_whose_model_is_not_rounded_to_nearest(parameters, feeds):
    executed = opened("master-weights", "optax:sgd", parameters, feeds, "bfloat16")
    up = 1 + 2.0**-8
    executed._round = jax.jit(lambda masters: {n: (each * up).astype("bfloat16") for n, each in masters.items()})
    proof = played(executed, feeds)
    assert not proof.on_path
    assert "not the masters rounded to nearest" in proof.observed


def test_masters_that_get_wide_gradients(parameters, feeds):
    executed = opened("master-weights", "optax:sgd", parameters, feeds, "bfloat16")
    executed._dtypes = dict.fromkeys(parameters, "float32")
    assert not played(executed, feeds).on_path


def test_steps_that_were_not_skipped(parameters, feeds, monkeypatch):
    monkeypatch.setattr(optax_skipping, "MOST_IN_A_ROW", 0)
    proof = played(opened("apply-if-finite", "optax:sgd", parameters, feeds), feeds)
    assert not proof.on_path
    assert "of them moved something" in proof.observed


def test_is_rounding():
    master = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, -3.3e38, 1e-40, 0.1, np.nan], "float32")
    exact = master.astype(ml_dtypes.bfloat16)
    assert exact[0] == 1  # a tie, to even
    assert is_rounding(exact, master)
    assert is_rounding(np.where(np.arange(6) == 3, 0, exact).astype(exact.dtype), master)
    for at in range(5):
        wrong = exact.copy()
        wrong[at] = np.nextafter(exact[at], exact.dtype.type(0 if at else 2))
        assert is_rounding(wrong, master) == (at == 3 and wrong[3] == 0)


PROGRAM = """
import json
import jax
import numpy as np
from optconform.adapters import optax_jax
from optconform.adapters.execution import Feed, Opening, load_runtime
from optconform.adapters.targets import load_target

first, second = jax.devices("cpu")
feed = Feed({"w": np.ones(3)}, 0.5)
answers = []
for built_on in (first, second):
    optax_jax.device_called = lambda name: built_on
    for name in ("jit", "scan"):
        execution = load_runtime("jax").executions[name]
        options = {"momentum": 0.5, "lr": 0.5}
        executed = execution.open(Opening(load_target("optax:sgd"), options, feed.gradients, [feed], "float32", "cpu"))
        executed.step(feed.gradients, feed.lr)
        proof = executed.proof()
        answers.append([name, proof.on_path, proof.on_device, proof.observed])
print(json.dumps([answers, str(first), str(second)]))
"""


def test_parameters_and_state_on_another_device():
    """Two devices, which are one processor: what is asked for on one and built on the other is seen."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    answers, first, second = json.loads(done.stdout)
    assert all(on_path for _, on_path, _, _ in answers), answers
    for name, _, on_device, observed in answers[:2]:
        assert on_device, (name, observed)
        assert observed.endswith(f"arrays of parameters and state were on {first}")
    for name, _, on_device, observed in answers[2:]:
        assert not on_device, (name, observed)
        assert f"not on {first}: " in observed
        assert f" on {second}" in observed


def test_runtime_tells_what_it_is():
    assert next(iter(RUNTIME.executions)) == "eager"
    assert all(name == each.name for name, each in RUNTIME.executions.items())
    assert RUNTIME.executions["master-weights"].steps_in == {"bfloat16": "float32", "float16": "float32"}
    assert RUNTIME.versions().keys() == {"jax", "jaxlib", "optax", "numpy"}
    assert "cpu" in RUNTIME.devices()
    assert RUNTIME.describe("cpu")["name"]


@pytest.mark.parametrize(
    ("version", "driver"), [("PJRT C API\ncuda 12080", {"driver": "570.1"}), ("PJRT C API\nrocm 60000", {})]
)
def test_what_is_told_of_a_gpu(version, driver, monkeypatch):
    gpu = SimpleNamespace(
        device_kind="NVIDIA H100",
        compute_capability="9.0",
        memory_stats=lambda: {"bytes_limit": 2**36},
        client=SimpleNamespace(platform_version=version),
    )
    monkeypatch.setattr(jax_devices, "nvidia_driver", lambda: "570.1")
    monkeypatch.setattr(jax_devices, "device_called", lambda name: {"gpu:1": gpu}[name])
    told = {"name": "NVIDIA H100", "capability": "9.0", "memory": str(2**36), "runtime": version.replace("\n", " ")}
    assert RUNTIME.describe("gpu:1") == told | driver
    gpu.memory_stats, gpu.compute_capability = lambda: None, None
    assert RUNTIME.describe("gpu:1").keys() == {"name", "runtime"} | driver.keys()


def test_settings_that_change_bits_are_told_as_they_are_now(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    with jax.default_matmul_precision("float32"):
        flags = RUNTIME.flags()
    assert flags["jax_default_matmul_precision"] == "float32"
    assert flags["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=true"
    assert flags["NVIDIA_TF32_OVERRIDE"] == ""
    assert flags["jax_enable_x64"] == "False"
