"""Recording Optax transformations: training stays the same bits, however JAX runs it, and every step arrives once."""

import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402

import optconform  # noqa: E402
from optconform.adapters import optax_arrivals  # noqa: E402
from optconform.adapters.jax_scope import Scope  # noqa: E402
from optconform.adapters.optax_update import dtypes_in, in_words, on_host  # noqa: E402
from optconform.conformance.recording.options import RecordingOptions  # noqa: E402
from optconform.conformance.recording.recording import RecordingWarning  # noqa: E402
from optconform.conformance.traces import open_trace  # noqa: E402

pytestmark = pytest.mark.jax

PARAMS = {"dense": {"kernel": jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)}, "out": [jnp.linspace(0.5, -0.5, 4)]}
NAMES = ["dense/kernel", "out/0"]


def loss(params):
    """One whose gradient is element-wise, which XLA computes as a part of the update: bits change easily."""
    return sum((0.3 * leaf**3 + 0.11 * leaf**2 - 0.07 * leaf).sum() for leaf in jax.tree_util.tree_leaves(params))


def step_of(tx):
    def step(params, state, scale=1.0):
        gradients = jax.tree.map(lambda each: each * scale, jax.grad(loss)(params))
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return step


def train(tx, mode="jit", steps=6, scales=None, state=None, params=PARAMS):
    params, step = jax.tree.map(jnp.copy, params), step_of(tx)
    state = tx.init(params) if state is None else state
    scales = jnp.ones(steps) if scales is None else jnp.asarray(scales, jnp.float32)
    if mode == "scan":

        def body(carry, scale):
            return step(*carry, scale), None

        return jax.jit(lambda *carry: jax.lax.scan(body, carry, scales)[0])(params, state)
    if mode == "unrolled":

        def pair(params, state, one, other):
            return step(*step(params, state, one), other)

        pair = jax.jit(pair, donate_argnums=(0, 1))
        for one, other in scales.reshape(-1, 2):
            params, state = pair(params, state, one, other)
        return params, state
    step = jax.jit(step, donate_argnums=(0, 1)) if mode == "jit" else step
    for scale in scales:
        params, state = step(params, state, scale)
    return params, state


def named(tree):
    return dict(zip(NAMES, map(np.asarray, jax.tree_util.tree_leaves(tree)), strict=True))


def assert_same(left, right):
    left, right = jax.tree_util.tree_leaves(left), jax.tree_util.tree_leaves(right)
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert np.asarray(one).dtype == np.asarray(other).dtype
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.trace"


def gradients_in(trace):
    return [step.gradients for step in trace.steps()]


class TestTheSameBits:
    @pytest.mark.parametrize("mode", ["eager", "jit", "scan", "unrolled"])
    def test_training_is_the_same_and_theta_is_that_of_training(self, mode, path):
        plain, plain_state = train(optax.adamw(0.013, weight_decay=0.1), mode)
        tx = optconform.record(optax.adamw(0.013, weight_decay=0.1), path, snapshots=True)
        params, state = train(tx, mode)
        tx.finish(params)
        assert_same(params, plain)
        assert_same(state.inner_state, plain_state)
        trace = open_trace(path)
        assert [p.name for p in trace.parameters] == NAMES
        assert trace.n_steps == trace.run.after[-1].last_step == 6
        assert_same(trace.initial_parameters(), named(PARAMS))
        assert_same(trace.parameters_after(6), named(params))

    def test_a_sample_leaves_training_alone_too_and_is_of_the_same_coordinates(self, path):
        plain, _ = train(optax.adamw(0.013), "unrolled")
        tx = optconform.record(optax.adamw(0.013), path, sample=5, snapshots=True)
        params, _ = train(tx, "unrolled")
        tx.finish(params)
        assert_same(params, plain)
        trace = open_trace(path)
        places = RecordingOptions(sample=5).coordinates("dense/kernel", (3, 4))
        assert_same(trace.parameters_after(6)["dense/kernel"], named(params)["dense/kernel"].ravel()[places])
        assert [p.sampled_from for p in trace.parameters] == [(3, 4), None]

    def test_gradients_of_several_sizes_of_floats_are_those_given(self, path):
        params = {"half": jnp.linspace(-1, 1, 5, dtype=jnp.bfloat16), "w": jnp.ones(3), "n": jnp.arange(3)}
        tx = optconform.record(optax.masked(optax.adam(0.1), {"half": True, "w": True, "n": False}), path)
        state, given = tx.init(params), []
        for step in range(3):
            gradients = {"half": params["half"] * step, "w": params["w"] * (step - 1), "n": jnp.zeros(3, jnp.int32)}
            given.append({"half": np.asarray(gradients["half"]), "w": np.asarray(gradients["w"])})
            updates, state = tx.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
        tx.close()
        trace = open_trace(path)
        assert [(p.name, p.dtype) for p in trace.parameters] == [("half", "bfloat16"), ("w", "float32")]
        assert_same(gradients_in(trace), given)

    def test_double_precision_keeps_its_digits(self, path):
        with Scope(jax.devices()[0], double=True).entered():  # which is on for this thread alone
            w = jnp.full(100_000, 1 / 3)
            assert w.dtype == jnp.float64
            tx = optconform.record(optax.sgd(0.0), path)

            def step(state, _):
                return tx.update(jnp.sin(w), state, w)[1], None

            jax.block_until_ready(jax.jit(lambda state: jax.lax.scan(step, state, None, length=2))(tx.init(w)))
            expected = float(jnp.sin(w)[0])
            tx.close()
        trace = open_trace(path)
        assert [(p.name, p.dtype) for p in trace.parameters] == [("params", "float64")]
        np.testing.assert_allclose([each["params"] for each in gradients_in(trace)], expected, rtol=1e-15)

    def test_what_is_called_from_a_thread_without_64_bits_gets_them_all(self):
        with Scope(jax.devices()[0], double=True).entered():
            values = {
                "w": jnp.linspace(0.0, 1 / 3, 6).reshape(2, 3),
                "n": jnp.asarray(2**40),
                "half": jnp.ones(2, "bfloat16"),
            }
            words, dtypes = in_words(values), dtypes_in(values)
            assert max(each.dtype.itemsize for each in words.values()) == 4
        assert_same(on_host(words, dtypes), values)


class TestTheSteps:
    @pytest.mark.parametrize("mode", ["eager", "scan"])
    def test_a_record_that_begins_in_the_middle_holds_the_state(self, mode, path):
        params, state = train(optax.adam(0.01), mode, steps=2)
        tx = optconform.record(optax.adam(0.01), path, steps=range(3, 5), snapshots=True)
        train(tx, mode)
        tx.close()
        trace = open_trace(path)
        (segment,) = trace.run.segments
        before = trace.state_before(segment)
        assert (trace.n_steps, segment.training_step) == (2, 3)
        assert_same([before["theta"], before["m"], before["v"]], [named(each) for each in (params, *state[0][1:])])
        assert {float(value) for value in before["step"].values()} == {2.0}
        assert trace.parameters_after(2) is not None  # given to the fifth update, which itself is not recorded

    def test_every_so_many_steps_make_segments_of_their_own(self, path):
        tx = optconform.record(optax.adam(0.01), path, every=3, snapshots=True)
        train(tx, steps=7)
        tx.close()
        trace = open_trace(path)
        assert [(each.step, each.training_step) for each in trace.run.segments] == [(1, 1), (2, 4), (3, 7)]
        assert trace.run.after[-1].last_step == 2  # no update was given theta after the last

    def test_only_branches_that_are_taken_make_steps(self, path):
        tx = optconform.record(optax.adam(0.01), path)
        step = step_of(tx)

        @jax.jit
        def sometimes(params, state, made):
            return jax.lax.cond(made, step, lambda *same: same, params, state)

        params, state = PARAMS, tx.init(PARAMS)
        for made in (True, False, False, True, True):
            params, state = sometimes(params, state, made)
        tx.close()
        assert open_trace(path).n_steps == 3

    @pytest.mark.parametrize(("inside", "steps"), [(False, 8), (True, 8), (True, 6)])
    def test_accumulated_gradients_are_one_step(self, inside, steps, path):
        scales = [1.0, 2.0, 6.0] * 2 + [1.0] * (steps - 6)
        plain, _ = train(optax.MultiSteps(optax.adam(0.01), 3), scales=scales)
        recorded = optconform.record(optax.adam(0.01) if inside else optax.MultiSteps(optax.adam(0.01), 3), path)
        params, _ = train(optax.MultiSteps(recorded, 3) if inside else recorded, scales=scales)
        recorded.close()
        assert_same(params, plain)
        trace = open_trace(path)
        assert trace.n_steps == 2
        mean = named(jax.tree.map(lambda each: each * 3, jax.grad(loss)(PARAMS)))
        for name, gradient in gradients_in(trace)[0].items():
            np.testing.assert_allclose(gradient, mean[name], rtol=1e-5)

    def test_what_is_run_and_thrown_away_is_no_step(self, path):
        tx = optconform.record(optax.adam(0.01), path)
        state = tx.init(PARAMS)
        for _ in range(2):
            jax.block_until_ready(jax.jit(step_of(tx))(PARAMS, state, 7.0))  # to compile it, for example
        train(tx, steps=4, state=state)
        tx.close()
        trace = open_trace(path)
        assert trace.n_steps == 4
        np.testing.assert_allclose(gradients_in(trace)[0]["out/0"], jax.grad(loss)(PARAMS)["out"][0], rtol=1e-6)

    def test_groups_are_recorded_each_by_itself(self, tmp_path):
        rules = {"a": optax.adam(0.01), "b": optax.sgd(0.1)}
        recorded = {name: optconform.record(rule, tmp_path / name) for name, rule in rules.items()}
        train(optax.multi_transform(recorded, {"dense": "a", "out": "b"}), steps=2)
        for tx in recorded.values():
            tx.close()
        names = [[p.name for p in open_trace(tmp_path / name).parameters] for name in rules]
        assert names == [NAMES[:1], NAMES[1:]]

    def test_meta_gradients_pass_through(self, path):
        tx = optconform.record(optax.sgd(1.0), path)

        def trained(rate, tx):
            state, w = tx.init(jnp.ones(2)), jnp.ones(2)
            for _ in range(2):
                updates, state = tx.update(w * rate, state, w)
                w = w + updates
            return w.sum()

        assert jax.jit(jax.grad(lambda rate: trained(rate, tx)))(0.5) == jax.grad(
            lambda rate: trained(rate, optax.sgd(1.0))
        )(0.5)
        tx.close()
        assert open_trace(path).n_steps == 2


class TestSkippedSteps:
    def test_rejected_by_apply_if_finite(self, tmp_path):
        scales = [1, 1, np.nan, 1, np.inf, 1]
        outer = optconform.record(optax.apply_if_finite(optax.adam(0.01), 3), tmp_path / "outer", snapshots=True)
        params, _ = train(outer, scales=scales)
        outer.finish(params)
        inner = optconform.record(optax.adam(0.01), tmp_path / "inner")
        train(optax.apply_if_finite(inner, 3), scales=scales)
        inner.close()
        seen = open_trace(tmp_path / "outer")
        assert (seen.n_steps, sorted(seen.run.skipped)) == (6, [3, 5])
        assert_same(seen.parameters_after(3), seen.parameters_after(2))
        assert (open_trace(tmp_path / "inner").n_steps, open_trace(tmp_path / "inner").run.skipped) == (4, frozenset())

    def test_thrown_away_by_loss_scaling(self, path):
        tx = optconform.record(optax.adam(0.01), path, snapshots=True)
        step = step_of(tx)

        @jax.jit
        def scaled(params, state, scale):
            new = step(params, state, scale)
            return jax.tree.map(lambda made, old: jnp.where(jnp.isfinite(scale), made, old), new, (params, state))

        params, state = PARAMS, tx.init(PARAMS)
        for scale in (jnp.inf, 1.0, 1.0, jnp.inf, 1.0):
            params, state = scaled(params, state, scale)
        tx.finish(params)
        trace = open_trace(path)
        assert (trace.n_steps, sorted(trace.run.skipped)) == (5, [1, 4])
        assert_same(trace.parameters_after(1), named(PARAMS))
        assert_same(trace.parameters_after(5), named(params))


class TestHyperparameters:
    def course(self, path, name="lr"):
        (group,) = open_trace(path).run.groups
        return [group.at(step).get(name) for step in range(1, open_trace(path).n_steps + 1)]

    @pytest.mark.parametrize("mode", ["eager", "jit"])
    def test_a_schedule_is_followed(self, mode, path):
        schedule = optax.linear_schedule(0.1, 0.0, 5)
        told = {"b1": 0.8, "nesterov": True}
        tx = optconform.record(optax.adam(schedule, 0.8), path, learning_rate=schedule, hyperparameters=told)
        train(tx, mode)
        tx.close()
        np.testing.assert_allclose(self.course(path), [0.1, 0.08, 0.06, 0.04, 0.02, 0.0], atol=1e-8)
        assert self.course(path, "beta1")[0] == 0.8
        assert self.course(path, "nesterov")[0] is True
        np.testing.assert_allclose(open_trace(path).multipliers, [1, 0.8, 0.6, 0.4, 0.2, 0], atol=1e-7)

    def test_what_is_not_told_has_the_default_of_the_rule_that_is_named(self, path):
        told = {"weight_decay": 0.1}
        rule = optax.adamw(0.1, weight_decay=0.1)
        with optconform.record(rule, path, learning_rate=0.1, optimizer="optax:adamw", hyperparameters=told) as tx:
            train(tx, "eager", steps=1)
        held = {name: self.course(path, name)[0] for name in ("lr", "weight_decay", "beta1", "beta2", "eps")}
        assert held == {"lr": 0.1, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}

    @pytest.mark.parametrize("optimizer", [None, "mine:adamw", "optax:nothing", "optax:"])
    def test_of_another_rule_nothing_is_known_but_what_is_told(self, optimizer, path):
        with optconform.record(optax.adamw(0.1), path, learning_rate=0.1, optimizer=optimizer) as tx:
            train(tx, "eager", steps=1)
        assert self.course(path) == [0.1]
        assert self.course(path, "beta1") == [None]

    def test_a_number_is_kept_as_it_is(self, path):
        with optconform.record(optax.adam(0.1), path, learning_rate=0.1, optimizer="optax:adam") as tx:
            train(tx, "eager", steps=1)
        assert self.course(path) == [0.1]
        assert open_trace(path).run.optimizer == "optax:adam"

    def test_injected_ones_are_read_from_the_state(self, path):
        tx = optconform.record(optax.inject_hyperparams(optax.adamw)(0.5, weight_decay=0.25), path)
        state, step = tx.init(PARAMS), jax.jit(step_of(tx))
        params, state = step(PARAMS, state)
        state.inner_state.hyperparams["learning_rate"] = jnp.asarray(0.125)
        step(params, state)
        tx.close()
        assert self.course(path) == [0.5, 0.125]
        assert self.course(path, "weight_decay") == [0.25, 0.25]

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"learning_rate": 0.1, "hyperparameters": {"lr": 0.1}}, ValueError, "twice"),
            ({"hyperparameters": {"b1": 0.1, "beta1": 0.2}}, ValueError, "beta1"),
            ({"hyperparameters": {"mask": object()}}, TypeError, "mask="),
            ({"learning_rate": "fast"}, TypeError, "learning_rate='fast'"),
            ({"model": object()}, TypeError, "model="),
        ],
    )
    def test_wrong_ones_are_refused_at_once(self, arguments, error, message, path):
        with pytest.raises(error, match=message):
            optconform.record(optax.sgd(0.1), path, **arguments)
        assert not path.exists()

    def test_others_have_no_use_for_them(self, path):
        with pytest.raises(TypeError, match="learning_rate="):
            optconform.record({"w": np.ones(3)}, path, learning_rate=0.1)


class TestStates:
    def test_a_checkpoint_goes_on_where_it_was(self, tmp_path):
        first = optconform.record(optax.adam(0.01), tmp_path / "first")
        params, state = train(first, steps=3)
        first.close()
        saved = pickle.loads(pickle.dumps(jax.tree.map(np.asarray, (params, state))))
        second = optconform.record(optax.adam(0.01), tmp_path / "second")
        params, state = train(second, steps=2, state=saved[1], params=saved[0])
        second.close()
        whole, _ = train(optax.adam(0.01), steps=5)
        assert_same(params, whole)
        trace = open_trace(tmp_path / "second")
        assert trace.n_steps == 2
        assert {float(each) for each in trace.state_before(trace.run.segments[0])["step"].values()} == {3.0}

    @pytest.mark.parametrize("steps", [0, 3], ids=["rule", "MultiSteps"])
    def test_a_state_without_recording_is_adopted(self, steps, path):
        rule = optax.MultiSteps(optax.adam(0.01), steps) if steps else optax.adam(0.01)
        params, state = train(rule, steps=3)
        tx = optconform.record(rule, path)
        state = tx.adopt(state)
        step = jax.jit(step_of(tx), donate_argnums=(0, 1))
        for _ in range(3):
            params, state = step(params, state)
        tx.close()
        trace = open_trace(path)
        assert trace.n_steps == (1 if steps else 3)
        before = trace.state_before(trace.run.segments[0])
        assert float(before["step"]["out/0"]) == (1.0 if steps else 3.0)


def stopped(tx, path, message, train):
    """Train, and return what that returned; the recording has to end with one warning that says `message`."""

    def all_of_it():
        result = jax.block_until_ready(train())
        tx.close()
        return result

    with pytest.warns(RecordingWarning, match=message) as caught:
        result = all_of_it()
    assert len(caught) == 1
    assert not path.exists()
    return result


class TestWhatCannotBeRecorded:
    def test_no_parameters(self, path):
        tx = optconform.record(optax.sgd(0.1), path)
        stopped(tx, path, "given no parameters", lambda: jax.jit(tx.update)(PARAMS, tx.init(PARAMS)))

    def test_gradients_that_would_be_rounded(self, path):
        tx, w = optconform.record(optax.sgd(0.1), path), jnp.ones(3, jnp.bfloat16)
        stopped(tx, path, "float32 and would be rounded to bfloat16", lambda: tx.update(jnp.ones(3), tx.init(w), w))

    def test_accumulation_inside(self, path):
        tx = optconform.record(optax.chain(optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation()), path)
        stopped(tx, path, "optax.MultiSteps inside", lambda: tx.update(PARAMS, tx.init(PARAMS), PARAMS))

    def test_hyperparameters_of_several_rules(self, path):
        rule = optax.inject_hyperparams(optax.sgd)
        tx = optconform.record(optax.multi_transform({"a": rule(0.1), "b": rule(0.2)}, {"x": "a", "y": "b"}), path)
        both = {"x": jnp.ones(2), "y": jnp.ones(2)}
        stopped(tx, path, "several optax.inject_hyperparams", lambda: tx.update(both, tx.init(both), both))

    def test_many_runs_at_once(self, path):
        tx, w = optconform.record(optax.adam(0.1), path), jnp.ones((2, 3))

        def runs(tx):
            state = jax.vmap(tx.init)(w)
            return jax.jit(jax.vmap(tx.update))(w, state, w)[0]

        assert_same(stopped(tx, path, "inside vmap", lambda: runs(tx)), runs(optax.adam(0.1)))

    def test_another_state_put_in_place(self, path):
        tx = optconform.record(optax.adam(0.1), path)
        train(tx, "eager", steps=3)
        with pytest.warns(RecordingWarning, match="after update 3 came update 1"):
            train(tx, "eager", steps=1)
        tx.close()
        assert open_trace(path).n_steps == 2  # of the third it is not known what became

    @pytest.mark.parametrize("method", ["need", "take"])
    @pytest.mark.parametrize("mode", ["eager", "scan"])
    def test_a_mistake_of_the_recorder_leaves_training_alone(self, method, mode, path, monkeypatch):
        def failing(*arguments):
            raise RuntimeError("a mistake")

        plain, _ = train(optax.adam(0.1), mode, steps=3)
        tx = optconform.record(optax.adam(0.1), path)
        monkeypatch.setattr(optax_arrivals.Arrivals, method, failing)
        params, _ = stopped(tx, path, "a mistake", lambda: train(tx, mode, steps=3))
        assert_same(params, plain)


def test_readable_names_are_distinct(path):
    params = {"a": {"b": jnp.ones(1)}, "a/b": jnp.ones(2), "m": optax.MaskedNode()}
    tx = optconform.record(optax.sgd(0.1), path)
    tx.update({**params, "a": {"b": None}}, tx.init(params), params)
    tx.close()
    trace = open_trace(path)
    assert [p.name for p in trace.parameters] == ["['a']['b']", "['a/b']"]
    assert trace.missing == {1: frozenset({"['a']['b']"})}


SHARDED = """
    import jax, jax.numpy as jnp, numpy as np, optax, optconform
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    assert len(jax.devices()) == 4
    mesh = Mesh(np.array(jax.devices()), ("x",))
    x = jax.device_put(np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8), NamedSharding(mesh, PartitionSpec("x")))

    def run(tx, many):
        w = jax.device_put(jnp.linspace(-1, 1, 64).reshape(8, 8), NamedSharding(mesh, PartitionSpec(None, "x")))
        state = jax.jit(tx.init)(w)

        def step(w, state):
            updates, state = tx.update(jax.grad(lambda w: jnp.mean((jnp.tanh(x @ w) - x) ** 2))(w), state, w)
            return optax.apply_updates(w, updates), state

        def three(w, state):
            for _ in range(3):
                w, state = step(w, state)
            return w, state

        made = jax.jit(three if many else step, donate_argnums=(0, 1))
        for _ in range(2 if many else 6):
            w, state = made(w, state)
        return w

    plain = run(optax.adam(0.01), True)
    w = run(optconform.record(optax.adam(0.01), "True.trace", snapshots=True), True)
    assert w.sharding == plain.sharding
    assert np.asarray(w).tobytes() == np.asarray(plain).tobytes()
    run(optconform.record(optax.adam(0.01), "False.trace", sample=5), False)
    # Neither is closed: the end of the interpreter is to do it.
"""


def test_several_devices_and_nobody_closes(tmp_path):
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    script = [sys.executable, "-W", "error", "-c", textwrap.dedent(SHARDED)]
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    whole, sample = (open_trace(Path(tmp_path, f"{many}.trace")) for many in (True, False))
    assert (whole.n_steps, sample.n_steps) == (6, 6)
    assert whole.run.after[-1].last_step == 5
    theta = [whole.initial_parameters()["params"], *(whole.parameters_after(step)["params"] for step in range(1, 6))]
    places = sample.coordinates("params")
    for step, (one, other) in enumerate(zip(gradients_in(whole), gradients_in(sample), strict=True)):
        x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
        made = np.tanh(x @ theta[step])
        expected = x.T @ (2 * (made - x) * (1 - made**2)) / 64
        np.testing.assert_allclose(one["params"], expected, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(one["params"].ravel()[places], other["params"], rtol=1e-3, atol=1e-6)
