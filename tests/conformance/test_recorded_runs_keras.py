"""Recorded Keras runs judged by their own parameters: what Keras documents is what its runs did."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import optconform
from optconform.adapters.keras_import import keras

pytestmark = pytest.mark.tensorflow

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
OPTIMIZERS = keras.optimizers


@pytest.fixture
def judged(tmp_path):
    """Fit a small network, eagerly or as told, judge what was recorded of the last fit, and return the result."""

    def judge(optimizer, *, mode=None, unrecorded=0, prepare=None, **options):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Input((6,)), keras.layers.Dense(5, "tanh", name="first"), keras.layers.Dense(2)]
        model = keras.Sequential(layers, name="network")
        if prepare is not None:
            prepare(model)
        model.compile(optimizer, "mse", **(mode or {"run_eagerly": True}))
        fit = {"batch_size": 4, "shuffle": False, "verbose": 0}
        if unrecorded:
            model.fit(X, X[:, :2], epochs=unrecorded, **fit)
        path = tmp_path / "run.trace"
        callback = optconform.recording_callback(path, snapshots=True, **options)
        model.fit(X, X[:, :2], callbacks=[callback], **fit)
        return optconform.audit_run(path)

    return judge


def errors(result):
    return [finding.rule for finding in result.findings if finding.severity == "error"]


def posing(kind):
    """Give `kind`, a faulty subclass, the name of the class that it derives from."""
    kind.__module__, kind.__qualname__ = kind.__base__.__module__, kind.__base__.__qualname__
    return kind


class TestSound:
    @pytest.mark.parametrize("mode", [{"run_eagerly": True}, {"jit_compile": False}, {"jit_compile": True}])
    def test_adamw_on_every_path(self, judged, mode):
        result = judged(OPTIMIZERS.AdamW(1e-3, weight_decay=1e-2), mode=mode)
        assert (result.target, result.match.rule, result.verdict) == ("keras.optimizers:AdamW", "adamw", "decoupled")
        assert (result.exit_status, errors(result), result.decay.law) == (0, [], "lr*wd")

    @pytest.mark.parametrize(
        ("make", "verdict", "status"),
        [
            (lambda: OPTIMIZERS.SGD(1e-2, momentum=0.9, nesterov=True, weight_decay=1e-2), "decoupled", 0),
            (lambda: OPTIMIZERS.SGD(1e-2, weight_decay=1e-2), "equivalent", 0),
            (lambda: OPTIMIZERS.AdamW(1e-3, weight_decay=1e-2, global_clipnorm=0.1), "decoupled", 0),
            (lambda: OPTIMIZERS.AdamW(1e-3, weight_decay=1e-2, gradient_accumulation_steps=3), "decoupled", 0),
            (lambda: OPTIMIZERS.LossScaleOptimizer(OPTIMIZERS.AdamW(1e-3, weight_decay=1e-2)), "decoupled", 0),
            (
                lambda: OPTIMIZERS.AdamW(OPTIMIZERS.schedules.CosineDecay(0.0, 8, warmup_target=2e-3, warmup_steps=3)),
                "decoupled",
                0,
            ),
            (lambda: OPTIMIZERS.AdamW(1e-3, use_ema=True, ema_overwrite_frequency=4), "inconclusive", 4),
            (lambda: OPTIMIZERS.Lion(1e-3, weight_decay=1e-2), "inconclusive", 4),
        ],
        ids=["sgd", "plain sgd", "clipped", "accumulated", "scaled", "schedule", "average", "lion"],
    )
    def test_what_each_documents_and_nothing_of_what_no_rule_describes(self, judged, make, verdict, status):
        result = judged(make())
        assert (result.verdict, result.exit_status, errors(result)) == (verdict, status, [])

    def test_the_momentum_of_a_run_that_was_under_way_is_taken_with_the_sign_of_the_rule(self, judged):
        result = judged(OPTIMIZERS.SGD(1e-2, momentum=0.9, weight_decay=1e-2), unrecorded=1)
        assert (result.verdict, result.match.rule, result.match.momentum) == ("decoupled", "sgdw", "lr_inside")
        assert (result.exit_status, result.match.elements) == (0, 8 * 47)

    def test_variables_that_are_excluded_from_decay(self, judged):
        optimizer = OPTIMIZERS.AdamW(1e-3, weight_decay=1e-2)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        result = judged(optimizer)
        kinds = {each.name.rpartition("/")[2]: each.verdict for each in result.parameters}
        assert (kinds, result.exit_status) == ({"kernel": "decoupled", "bias": "excluded"}, 0)

    def test_a_constraint_moves_a_variable_after_the_rule_and_is_no_fault_of_it(self, judged):
        def constrain(model):
            model.layers[0].kernel.constraint = keras.constraints.MaxNorm(0.5)

        result = judged(OPTIMIZERS.AdamW(1e-3, weight_decay=1e-2), prepare=constrain)
        kinds = {each.name: each.verdict for each in result.parameters}
        assert kinds.pop("network/first/kernel") == "inconclusive"
        assert set(kinds.values()) == {"decoupled"}
        assert (result.verdict, result.exit_status, errors(result)) == ("inconclusive", 4, [])


class TestFaults:
    def test_half_the_decay(self, judged):
        @posing
        class Half(OPTIMIZERS.AdamW):
            def _apply_weight_decay(self, variables):
                for each in variables:
                    each.assign(each * (1.0 - 0.5 * self.weight_decay * self.learning_rate))

        result = judged(Half(1e-3, weight_decay=1e-2))
        assert (result.verdict, result.exit_status, errors(result)) == ("other", 1, ["OC301"])
        assert result.match.explained_by == "half the weight decay"

    def test_decay_in_the_gradient(self, judged):
        @posing
        class Coupled(OPTIMIZERS.AdamW):
            def _apply_weight_decay(self, variables):
                pass

            def update_step(self, gradient, variable, learning_rate):
                super().update_step(gradient + variable * self.weight_decay, variable, learning_rate)

        result = judged(Coupled(1e-3, weight_decay=1e-2))
        assert (result.verdict, result.exit_status) == ("l2", 1)
        assert {"OC101", "OC301"} <= set(errors(result))

    def test_one_layer_that_is_left_out_without_being_excluded(self, judged):
        @posing
        class Sparing(OPTIMIZERS.AdamW):
            def _apply_weight_decay(self, variables):
                super()._apply_weight_decay(variables[1:])

        result = judged(Sparing(1e-3, weight_decay=1e-2))
        (finding,) = (each for each in result.findings if each.rule == "OC301")
        assert (finding.parameter, finding.evidence["step"]) == ("network/first/kernel", 1)
        assert (result.exit_status, finding.evidence["explained_by"]) == (1, "no weight decay")
