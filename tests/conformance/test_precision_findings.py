"""OC204, OC305 and OC306: when they fire, how severely, and the figures that they name."""

from dataclasses import replace

import numpy as np
import pytest

from optconform.adapters.protocol import Cast
from optconform.conformance.api import make_subject
from optconform.conformance.audit import audit
from optconform.conformance.effective_decay import EffectiveDecay, Unmeasured
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.findings import findings_of
from optconform.conformance.matching import Matching
from optconform.conformance.observations import Observations
from optconform.conformance.result import Match, Severity, Verdict

LOST = EffectiveDecay(
    trace="small",
    dtype="float32",
    lr=1e-6,
    weight_decay=0.02,
    nominal=2e-8,
    ratio=0.0,
    worst_parameter="w",
    worst_ratio=0.0,
    elements=17,
    unchanged=1.0,
    half_ulp=2.15,
)
TOO_STRONG = replace(LOST, nominal=5e-8, weight_decay=0.05, ratio=1.72, worst_ratio=2.16, unchanged=0.0, half_ulp=0.86)

ASKED = {"lr": 0.1, "weight_decay": 0.5}
HELD = {"lr": float(np.float32(0.1)), "weight_decay": 0.5}


@pytest.fixture
def found():
    """Return the findings of `code` for observations that differ as given from those of a sound optimizer."""

    def run(code, *, held=None, accepted=(), rivals=None, **changes):
        matching = Matching(Match(rivals=rivals or {}), held or {}, accepted)
        sound = Observations(
            Verdict.DECOUPLED, parse_expectation("decoupled"), {}, {}, None, matching, None, "optconform audit x"
        )
        return [finding for finding in findings_of(replace(sound, **changes)) if finding.rule == code]

    return run


class TestLostDecay:
    @pytest.mark.parametrize(
        ("user_set", "severity"),
        [
            (set(), Severity.WARNING),
            ({"beta1"}, Severity.WARNING),
            ({"lr"}, Severity.ERROR),
            ({"weight_decay"}, Severity.ERROR),
        ],
    )
    def test_nothing_left(self, found, user_set, severity):
        (finding,) = found("OC204", effective=LOST, user_set=frozenset(user_set))
        assert finding.severity is severity
        assert finding.rerun == "optconform audit x"
        assert "no decay is applied" in finding.message
        assert "c = 2e-08 (lr=1e-06, weight_decay=0.02)" in finding.message
        assert "none of 17 elements moves" in finding.message
        assert "half an ulp of the numbers under 1 (2.98e-08)" in finding.message

    def test_too_strong_is_a_warning_even_where_the_user_set_it(self, found):
        (finding,) = found("OC204", effective=TOO_STRONG, user_set=frozenset({"lr"}))
        assert finding.severity is Severity.WARNING
        assert "float32 rounding makes the decay 1.72 times the nominal c = 5e-08" in finding.message
        assert "half an ulp is 0.86 of c*theta" in finding.message
        figures = {"effective_ratio": 1.72, "worst_parameter": "w", "worst_ratio": 2.16, "dtype": "float32"}
        assert figures.items() <= finding.evidence.items()

    @pytest.mark.parametrize(
        ("ratio", "fires"), [(0.89, True), (0.91, False), (1.0, False), (1.09, False), (1.11, True)]
    )
    def test_ten_percent(self, found, ratio, fires):
        assert bool(found("OC204", effective=replace(TOO_STRONG, ratio=ratio))) == fires

    def test_what_rounding_cannot_explain_is_not_blamed_on_it(self, found):
        assert found("OC204", effective=replace(TOO_STRONG, ratio=0.5, half_ulp=0.1)) == []
        assert found("OC204", effective=replace(LOST, half_ulp=0.1)) == []

    @pytest.mark.parametrize("effective", [None, Unmeasured("decay is off")])
    def test_nothing_measured(self, found, effective):
        assert found("OC204", effective=effective) == []


class TestRoundedHyperparameter:
    def test_held(self, found):
        (finding,) = found("OC305", asked=ASKED, held=HELD)
        assert finding.severity is Severity.WARNING
        assert "lr as 0.10000000149011612 where 0.1 was asked for, which is that rounded to float32" in finding.message
        assert finding.evidence["dtypes"] == {"lr": "float32"}

    def test_not_narrower_than_the_parameters(self, found):
        assert found("OC305", asked=ASKED, held=HELD, dtype="float32") == []

    def test_held_exactly(self, found):
        assert found("OC305", asked=ASKED, held=ASKED) == []

    @pytest.mark.parametrize(("ratio", "fired"), [(9e5, "on use (everywhere: lr)"), (0.5, "held in lower precision")])
    def test_it_is_reported_once_however_it_shows(self, found, ratio, fired):
        class Accepted:
            casts = (Cast("lr", "float32"),)
            rule = type("Rule", (), {"name": "sgdw", "decoupled": True})
            options = None

        rivals = {"sgdw[casts=none]": ratio}
        (finding,) = found("OC305", asked=ASKED, held=HELD, accepted=(Accepted(),), rivals=rivals)
        assert fired in finding.message


class TestDegenerateConstant:
    def test_eps(self, found):
        (finding,) = found("OC306", held={"eps": 1e-8, "beta2": 0.999}, dtype="float16")
        assert finding.severity is Severity.WARNING
        assert finding.message.startswith("eps=1e-08 rounds to 0 in float16: the denominator is 0 where v is")

    def test_beta(self, found):
        (finding,) = found("OC306", held={"eps": 1e-8, "beta2": 0.999}, dtype="bfloat16")
        assert finding.message.startswith("beta2=0.999 rounds to 1 in bfloat16: v never forgets")
        assert finding.evidence == {"hyperparameter": "beta2", "value": 0.999, "rounded": 1.0, "dtype": "bfloat16"}

    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_usual_values_are_held(self, found, dtype):
        assert found("OC306", held={"eps": 1e-8, "beta2": 0.999}, dtype=dtype) == []


class TestAudits:
    ADAMW = "optconform.conformance.faults.numpy_faults:AdamW"

    @pytest.fixture
    def run(self, small_trace):
        def audited(target, framework="numpy", dtype="float64", **options):
            subject = make_subject(target, framework=framework, dtype=dtype, hyperparameters=options)
            return audit(subject, [small_trace], parse_expectation("decoupled"))

        return audited

    def test_the_ratio_is_part_of_the_result(self, run):
        decay = run(self.ADAMW).decay
        assert decay.effective_ratio == pytest.approx(1.0, abs=1e-9)
        assert decay.effective_note == "1 of the nominal c = 1e-05, at zero gradient on trace small"
        assert run(self.ADAMW, weight_decay=0.0).decay.effective_note == "not measured: weight decay is off"

    def test_lost_at_the_user_s_values(self, run):
        result = run(self.ADAMW, lr=1e-9, weight_decay=1e-9)
        assert (result.verdict, int(result.exit_status), result.decay.effective_ratio) == (Verdict.DECOUPLED, 1, 0.0)
        assert {finding.rule for finding in result.findings if finding.severity is Severity.ERROR} == {"OC204"}

    def test_l2_has_no_effective_ratio(self, run):
        decay = run(self.ADAMW, fault="coupled").decay
        assert (decay.effective_ratio, decay.effective_note) == (None, None)

    def test_a_decay_that_is_off_without_rounding_is_no_lost_decay(self, run, zoo):
        class DecaysLate(zoo.Plain):
            def decay(self, name, theta, grad, lr):
                return super().decay(name, theta, grad, lr) if grad.any() else 0.0

        result = run(DecaysLate, weight_decay=0.5)
        assert result.decay.effective_ratio == 0.0
        assert "OC204" not in {finding.rule for finding in result.findings}

    @pytest.mark.torch
    def test_lost_in_float32(self, run):
        pytest.importorskip("torch")
        result = run("torch.optim:AdamW", "torch", "float32", lr=1e-6, weight_decay=0.02)
        (finding,) = (finding for finding in result.findings if finding.rule == "OC204")
        assert (finding.severity, int(result.exit_status)) == (Severity.ERROR, 1)
        assert "no decay is applied" in finding.message
