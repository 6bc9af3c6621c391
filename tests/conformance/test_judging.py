"""How a trajectory is judged: which mode is chosen or asked for, which arithmetic is allowed, and where both show."""

import json
import shlex

import pytest

import optconform
from optconform.adapters import numpy_optimizers
from optconform.adapters.errors import BuildFailed
from optconform.conformance.api import make_subject
from optconform.conformance.cli.main import main
from optconform.conformance.hypotheses import hypotheses
from optconform.conformance.judging import judging_of
from optconform.conformance.matching import match_trajectory
from optconform.reference.follow import Mode

WIDE, NARROW = ("float64", "float32"), ("bfloat16", "float16")
MODES = ("theta-resync", "free-run", "full-resync")
ADAMW = "optconform.adapters.numpy_optimizers:AdamW"


class HidesMoments:
    """AdamW of which nobody sees m and v, and which takes `amsgrad` and does nothing with it."""

    def __init__(self, weight_decay=0.1, beta1=0.9, beta2=0.99, eps=1e-8, amsgrad=False):
        self.beta1, self.beta2, self.eps, self.amsgrad = beta1, beta2, eps, amsgrad
        self.inner = numpy_optimizers.AdamW(weight_decay, beta1, beta2, eps)

    def step(self, params, grads, lr):
        return self.inner.step(params, grads, lr)


class ShowsMoments(HidesMoments):
    def __init__(self, **options):
        super().__init__(**options)
        self.m, self.v = self.inner.m, self.inner.v


@pytest.fixture
def judged(make_trace):
    def run(target, framework="numpy", *, dtype="float64", mode=None, path=None, trace=None, **options):
        trace = trace or make_trace()
        subject = make_subject(
            target,
            framework=framework,
            dtype=dtype,
            mode=mode,
            path=path,
            hyperparameters={"weight_decay": 0.1} | options,
        )
        optimizer = subject.build(trace.initial_parameters(), subject.parity())
        candidates = hypotheses({"weight_decay": 0.0, **optimizer.held}, optimizer.casts)
        return judging_of(subject, optimizer, candidates, trace)

    return run


@pytest.fixture
def matched(make_trace):
    def run(target, framework="numpy", *, dtype="float64", mode=None, trace=None, **options):
        subject = make_subject(target, framework=framework, dtype=dtype, mode=mode, hyperparameters=options)
        return match_trajectory(subject, [trace or make_trace()]).match

    return run


NUMPY = [
    *((numpy_optimizers.AdamW, dtype, "theta-resync") for dtype in WIDE),
    *((numpy_optimizers.AdamW, dtype, "full-resync") for dtype in NARROW),
    *((ShowsMoments, dtype, "full-resync") for dtype in NARROW),
    *((HidesMoments, dtype, "theta-resync") for dtype in WIDE + NARROW),
    *((numpy_optimizers.SGDW, dtype, "theta-resync") for dtype in WIDE + NARROW),
]


class TestChosenMode:
    @pytest.mark.parametrize(("target", "dtype", "mode"), NUMPY)
    def test_numpy(self, judged, target, dtype, mode):
        assert judged(target, dtype=dtype).mode == mode

    @pytest.mark.torch
    @pytest.mark.parametrize("dtype", WIDE + NARROW)
    @pytest.mark.parametrize(
        ("name", "options"),
        [("AdamW", {}), ("Adam", {"amsgrad": True}), ("AdamW", {"fused": True}), ("SGD", {"momentum": 0.9})],
    )
    def test_torch(self, judged, name, options, dtype):
        pytest.importorskip("torch")
        wanted = "full-resync" if dtype in NARROW and name != "SGD" else "theta-resync"
        assert judged(f"torch.optim:{name}", "torch", dtype=dtype, lr=0.05, **options).mode == wanted

    @pytest.mark.tensorflow
    @pytest.mark.parametrize("dtype", WIDE + NARROW)
    @pytest.mark.parametrize("name", ["AdamW", "SGD"])
    def test_keras(self, judged, name, dtype):
        pytest.importorskip("tensorflow")
        pytest.importorskip("keras")
        wanted = "full-resync" if dtype in NARROW and name == "AdamW" else "theta-resync"
        assert judged(f"keras.optimizers:{name}", "tensorflow", dtype=dtype).mode == wanted

    @pytest.mark.jax
    @pytest.mark.parametrize("dtype", WIDE + NARROW)
    @pytest.mark.parametrize("target", ["optax:adamw", "optconform.adapters.optax_chains:adam_l2"])
    def test_optax(self, judged, target, dtype):
        pytest.importorskip("optax")
        wanted = "full-resync" if dtype in NARROW else "theta-resync"
        assert judged(target, "jax", dtype=dtype, lr=0.05).mode == wanted

    def test_a_first_step_without_gradient_tells_nothing_about_the_state(self, judged, matched, make_trace):
        late = make_trace(missing={(1, "w"), (1, "b"), (2, "b")})
        assert judged(HidesMoments, dtype="bfloat16", trace=late).mode == "theta-resync"
        assert judged(ShowsMoments, dtype="bfloat16", trace=late).mode == "full-resync"
        assert matched(HidesMoments, dtype="bfloat16", trace=late).rule == "adamw"

    def test_a_trace_without_any_gradient(self, matched, make_trace):
        none = make_trace(n_steps=2, missing={(step, name) for step in (1, 2) for name in ("w", "b")})
        for target in (HidesMoments, ShowsMoments):
            assert matched(target, dtype="bfloat16", trace=none).decision == "undecidable"

    def test_every_moment_that_a_hypothesis_has_is_needed(self, judged, matched):
        """AMSGrad has a maximum besides m and v; one that is held and never shown leaves the parameters alone."""
        assert judged(ShowsMoments, dtype="bfloat16", amsgrad=False).mode == "full-resync"
        assert judged(ShowsMoments, dtype="bfloat16", amsgrad=True).mode == "theta-resync"
        assert matched(ShowsMoments, dtype="bfloat16", amsgrad=True).mode == "theta-resync"
        with pytest.raises(BuildFailed, match=r"shows no v_max in its state"):
            judged(ShowsMoments, mode="full-resync", amsgrad=True)


class TestAskedMode:
    @pytest.mark.parametrize("dtype", WIDE + NARROW)
    @pytest.mark.parametrize("mode", MODES)
    def test_it_holds_whatever_would_be_chosen(self, judged, mode, dtype):
        for target in (numpy_optimizers.AdamW, numpy_optimizers.SGDW):
            assert judged(target, dtype=dtype, mode=mode).mode == mode

    def test_full_resync_needs_the_moments(self, judged, make_trace):
        with pytest.raises(BuildFailed, match=r"shows no m and no v in its state.*use --mode theta-resync"):
            judged(HidesMoments, mode="full-resync")
        result = optconform.audit(HidesMoments, traces=[make_trace()], mode="full-resync")
        assert (result.verdict, int(result.exit_status)) == ("error", 3)
        (finding,) = result.findings
        assert finding.rule == "OC901"
        assert "no m and no v" in finding.message

    @pytest.mark.parametrize("mode", ["", "resync", "Free-run", "FREE_RUN"])
    def test_an_unknown_mode_names_the_choices(self, mode):
        with pytest.raises(ValueError, match=f"mode={mode!r}.*theta-resync, free-run, full-resync"):
            make_subject(ADAMW, mode=mode)
        with pytest.raises(ValueError, match="theta-resync, free-run, full-resync"):
            optconform.audit(ADAMW, mode=mode)

    def test_l2_cannot_run_free_and_the_match_says_how_it_was_followed(self, judged, matched):
        free = judged(numpy_optimizers.SGDW, mode="free-run")
        modes = {each.rule.name: free.mode_of(each) for each in hypotheses({"lr": 0.1, "weight_decay": 0.1}, ())}
        assert modes == {"sgdw": Mode.FREE_RUN, "sgd_l2": Mode.THETA_RESYNC}
        full = judged(numpy_optimizers.SGDW, mode="full-resync")
        assert {full.mode_of(each) for each in hypotheses({"lr": 0.1, "weight_decay": 0.1}, ())} == {Mode.FULL_RESYNC}

        class L2(numpy_optimizers.SGDW):
            def step(self, params, grads, lr):
                decay, self.weight_decay = self.weight_decay, 0.0
                moved = super().step(params, {name: grad + decay * params[name] for name, grad in grads.items()}, lr)
                self.weight_decay = decay
                return moved

        found = matched(L2, mode="free-run", weight_decay=0.1)
        assert (found.rule, found.mode) == ("sgd_l2", "theta-resync")
        assert matched(numpy_optimizers.SGDW, mode="free-run").mode == "free-run"


class TestArithmetic:
    """Platform row, working format and format of the scalars, from the adapter into the judging and the match."""

    @pytest.mark.parametrize("dtype", WIDE + NARROW)
    def test_numpy(self, judged, matched, dtype):
        allowed = judged(numpy_optimizers.AdamW, dtype=dtype).arithmetic
        wanted = (dtype, dtype, "float32" if dtype in NARROW else dtype, "cpu")
        assert (allowed.working.name, allowed.storage.name, allowed.scalars.name, allowed.platform.name) == wanted
        found = matched(numpy_optimizers.AdamW, dtype=dtype)
        assert (found.computed_in, found.platform) == (dtype, "cpu")
        assert found.mode == ("full-resync" if dtype in NARROW else "theta-resync")

    @pytest.mark.torch
    @pytest.mark.parametrize("fused", [False, True])
    @pytest.mark.parametrize("dtype", ["float32", *NARROW])
    def test_torch_computes_in_float32_where_it_is_fused(self, judged, matched, dtype, fused):
        pytest.importorskip("torch")
        working = "float32" if fused else dtype
        allowed = judged("torch.optim:AdamW", "torch", dtype=dtype, fused=fused).arithmetic
        assert (allowed.working.name, allowed.storage.name, allowed.scalars.name) == (working, dtype, "float32")
        found = matched("torch.optim:AdamW", "torch", dtype=dtype, fused=fused)
        assert (found.computed_in, found.platform) == (working, "torch-cpu")

    @pytest.mark.tensorflow
    @pytest.mark.parametrize("dtype", ["float32", *NARROW])
    def test_keras_forms_scalars_in_the_narrow_format(self, judged, matched, dtype):
        pytest.importorskip("tensorflow")
        pytest.importorskip("keras")
        allowed = judged("keras.optimizers:AdamW", "tensorflow", dtype=dtype).arithmetic
        assert (allowed.working.name, allowed.scalars.name) == (dtype, dtype)
        found = matched("keras.optimizers:AdamW", "tensorflow", dtype=dtype, weight_decay=0.1)
        assert (found.computed_in, found.platform) == (dtype, "tensorflow-cpu")

    @pytest.mark.jax
    def test_optax_runs_on_xla(self, matched):
        pytest.importorskip("optax")
        found = matched("optax:adamw", "jax", dtype="bfloat16", lr=0.05)
        assert (found.computed_in, found.platform, found.mode) == ("bfloat16", "xla-cpu", "full-resync")


class TestAudit:
    """The mode as it is given, and in what an audit returns and prints."""

    TRACE = ("--trace", "synthetic:mixed")

    @pytest.fixture
    def run(self, capsys):
        def command(*arguments):
            status = main(list(arguments))
            captured = capsys.readouterr()
            return status, captured.out, captured.err

        return command

    @pytest.mark.parametrize("mode", MODES)
    def test_python(self, make_trace, mode):
        result = optconform.audit(ADAMW, traces=[make_trace()], mode=mode)
        assert (result.verdict, result.match.mode, result.match.decision) == ("decoupled", mode, "accept")
        assert result.to_json()["match"]["mode"] == mode

    @pytest.mark.parametrize("mode", MODES)
    def test_command_line(self, run, mode):
        arguments = ("audit", ADAMW, "--mode", mode, *self.TRACE)
        document = json.loads(run(*arguments, "--format", "json")[1])
        assert document["match"]["mode"] == mode
        words = shlex.split(document["rerun"])
        assert words[words.index("--mode") + 1] == mode
        again = json.loads(run(*words[1:], "--format", "json")[1])
        assert (again["match"], again["rerun"]) == (document["match"], document["rerun"])
        assert f"accept; {mode}, computed in float64 on cpu" in run(*arguments, "-v")[1]

    def test_a_mode_that_was_chosen_is_shown_and_not_rerun(self, run):
        document = json.loads(run("audit", ADAMW, *self.TRACE, "--format", "json")[1])
        assert document["match"]["mode"] == "theta-resync"
        assert "--mode" not in document["rerun"]

    def test_check_takes_it_for_every_target(self, run):
        document = json.loads(run("check", ADAMW, ADAMW, "--mode", "free-run", *self.TRACE, "--format", "json")[1])
        assert [each["match"]["mode"] for each in document["results"]] == ["free-run"] * 2
        built_in = run("check", "--framework", "numpy", "--mode", "full-resync", *self.TRACE, "--format", "json")[1]
        assert {each["match"]["mode"] for each in json.loads(built_in)["results"]} == {"full-resync"}

    @pytest.mark.parametrize("command", ["audit", "check"])
    def test_a_bad_value_is_a_mistake_in_the_command(self, run, command):
        status, out, err = run(command, ADAMW, "--mode", "resync", *self.TRACE)
        assert (status, out) == (2, "")
        assert all(f"'{mode}'" in err for mode in MODES)


def test_the_optimizer_that_steps_to_show_its_state_is_not_the_one_replayed(matched):

    steps = []

    class Counting(numpy_optimizers.AdamW):
        def __init__(self, weight_decay=0.1, beta1=0.9, beta2=0.99, eps=1e-8):
            super().__init__(weight_decay, beta1, beta2, eps)
            self.number = len(steps)
            steps.append(0)

        def step(self, params, grads, lr):
            steps[self.number] += 1
            return super().step(params, grads, lr)

    assert matched(Counting, dtype="bfloat16").mode == "full-resync"
    assert steps == [1, 6, 6]  # to look at the state, to screen, and to replay in full
