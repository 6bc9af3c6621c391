"""Recorded Optax runs judged by their own parameters: what the recording was told is what the run did, or is not."""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402

import optconform  # noqa: E402

pytestmark = pytest.mark.jax

STEPS = 6
ADAMW = {"weight_decay": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
RNG = np.random.default_rng(0)
SHAPES = {"kernel": (6, 5), "bias": (5,), "out": (5, 2)}
PARAMS = {name: jnp.asarray(0.5 * RNG.normal(size=shape), "float32") for name, shape in SHAPES.items()}
INPUTS = jnp.asarray(RNG.normal(size=(STEPS, 8, 6)), "float32")


def loss(params, x):
    return jnp.mean((jnp.tanh(x @ params["kernel"] + params["bias"]) @ params["out"]) ** 2)


@pytest.fixture
def judged(tmp_path):
    """Train with `rule`, recorded, inside what `around` makes of it; return the judge's result."""

    def judge(rule, *, around=None, told=ADAMW, lr=1e-3, optimizer="optax:adamw", **options):
        told = {"hyperparameters": told, "learning_rate": lr, "optimizer": optimizer}
        recorded = optconform.record(rule, tmp_path / "run.trace", snapshots=True, **told, **options)
        tx = around(recorded) if around else recorded

        @jax.jit
        def step(params, state, x):
            updates, state = tx.update(jax.grad(loss)(params, x), state, params)
            return optax.apply_updates(params, updates), state

        params, state = PARAMS, tx.init(PARAMS)
        for x in INPUTS:
            params, state = step(params, state, x)
        recorded.finish(params)
        return optconform.audit_run(tmp_path / "run.trace")

    return judge


def errors(result):
    return [finding.rule for finding in result.findings if finding.severity == "error"]


def adamw(lr=1e-3, **more):
    return optax.adamw(lr, **{"weight_decay": 1e-2, **more})


class TestSound:
    @pytest.mark.parametrize(
        "around",
        [
            None,
            lambda rule: optax.chain(optax.clip_by_global_norm(0.1), rule),
            lambda rule: optax.apply_if_finite(rule, 3),
            lambda rule: optax.MultiSteps(rule, 2),
        ],
        ids=["alone", "clipped before", "if finite", "accumulated"],
    )
    def test_adamw(self, judged, around):
        result = judged(adamw(), around=around)
        assert (result.target, result.match.rule, result.decay.law) == ("optax:adamw", "adamw", "lr*wd")
        assert (result.verdict, result.exit_status, errors(result)) == ("decoupled", 0, [])

    def test_a_warm_up_from_zero(self, judged):
        schedule = optax.warmup_cosine_decay_schedule(0.0, 1e-2, 3, STEPS)
        result = judged(adamw(schedule), lr=schedule)
        assert (result.verdict, result.exit_status, errors(result)) == ("decoupled", 0, [])

    def test_hyperparameters_that_the_state_tells(self, judged):
        schedule = optax.linear_schedule(1e-3, 1e-4, STEPS)
        rule = optax.inject_hyperparams(optax.adamw)(learning_rate=schedule, weight_decay=1e-2)
        result = judged(rule, told=None, lr=None)
        assert (result.verdict, result.exit_status, errors(result)) == ("decoupled", 0, [])

    def test_a_mask_of_the_biases_is_not_seen_and_no_fault(self, judged):
        result = judged(adamw(mask={"kernel": True, "bias": False, "out": True}))
        kinds = {each.name: each.verdict for each in result.parameters}
        assert kinds == {"kernel": "decoupled", "bias": "excluded", "out": "decoupled"}
        assert (result.verdict, result.exit_status, errors(result)) == ("decoupled", 0, [])
        assert "behind a mask" in next(each.reason for each in result.parameters if each.name == "bias")

    @pytest.mark.parametrize(
        ("rule", "told", "name"),
        [
            (adamw(mu_dtype=jnp.bfloat16), {**ADAMW, "mu_dtype": "bfloat16"}, "optax:adamw"),
            (optax.chain(optax.clip_by_global_norm(0.1), adamw()), ADAMW, None),
            (optax.lion(1e-3, weight_decay=1e-2), {"weight_decay": 1e-2, "b1": 0.9, "b2": 0.99}, "optax:lion"),
        ],
        ids=["bfloat16 moments", "clipping inside", "lion"],
    )
    def test_of_what_no_rule_describes_nothing_is_claimed(self, judged, rule, told, name):
        result = judged(rule, told=told, optimizer=name)
        assert (result.verdict, result.exit_status, errors(result)) == ("inconclusive", 4, [])


class TestFaults:
    def test_half_the_decay(self, judged):
        result = judged(adamw(weight_decay=5e-3))
        assert (result.verdict, result.exit_status, errors(result)) == ("other", 1, ["OC301"])
        assert result.match.explained_by == "half the weight decay"
        (warning,) = (each for each in result.findings if each.rule == "OC905")
        assert "whether what was recorded is optax:adamw alone" in warning.message

    def test_no_decay_at_all(self, judged):
        result = judged(adamw(weight_decay=0.0))
        assert (result.verdict, result.exit_status) == ("other", 1)
        assert result.match.explained_by == "no weight decay"

    def test_one_matrix_that_does_not_decay_beside_another_that_does(self, judged):
        result = judged(adamw(mask={"kernel": False, "bias": True, "out": True}))
        (finding,) = (each for each in result.findings if each.rule == "OC301")
        assert (result.verdict, result.exit_status, finding.parameter) == ("mixed", 1, "kernel")

    def test_decay_in_the_gradient(self, judged):
        result = judged(optax.chain(optax.add_decayed_weights(1e-2), optax.adam(1e-3)))
        assert (result.verdict, result.exit_status) == ("l2", 1)
        assert {"OC101", "OC301"} <= set(errors(result))

    def test_decay_that_is_not_multiplied_by_the_learning_rate(self, judged):
        result = judged(optax.chain(optax.adam(1e-3), optax.add_decayed_weights(-1e-2)))
        assert (result.verdict, result.exit_status, result.decay.applied_to) == ("decoupled", 1, "previous")
        assert [check.name for check in result.checks if check.outcome == "failed"] == ["law"]
        (finding,) = (each for each in result.findings if each.rule == "OC201")
        assert "schedule*wd and wd are the same" in finding.message
