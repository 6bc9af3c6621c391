"""Every rule fires on the regression planted for it, and on nothing else; a baseline only ever adds findings."""

import json
import math
from dataclasses import replace
from importlib import resources

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optconform.conformance.measured import Apart, Measured
from optconform.conformance.outcomes import Finding
from optconform.conformance.result import ExitStatus, Result, Severity, Verdict
from optconform.gpu_ci.baseline import baseline_of
from optconform.gpu_ci.regression import hold_against
from optconform.gpu_ci.worse import FIGURES, allowed_ratio

AUDIT = json.loads(resources.files("optconform.conformance").joinpath("schema/audit-1.schema.json").read_text("utf-8"))
OUTSIDE = Finding("OC501", "device-mismatch", Severity.ERROR, "outside")


def held(run, baseline, **how):
    return hold_against(run, baseline, **{"strict": False, "allow_new_device": False, **how})


def added(held_run):
    """(case, rule, severity) of all that the comparison found."""
    every = (*held_run.results, *held_run.missing)
    return [(each.case.name, finding.rule, str(finding.severity)) for each in every for finding in each.result.findings]


def messages(held_run):
    every = (*held_run.results, *held_run.missing)
    return [finding.message for each in every for finding in each.result.findings]


def apart(largest, against="loop on cpu"):
    return Apart(float(largest), 0.0, 0.5 if largest else 0.0, 2, against)


@pytest.fixture(scope="session")
def other_place(made):
    return replace(made.CPU, name="Processor 9001")


@pytest.fixture(scope="session")
def sound(made):
    """A run in which every sort of case is."""
    return made.run(
        made.ran(from_cpu=apart(3)),
        made.ran(made.case("SGDW", slow=True), rival_ratio=math.inf),
        made.ran(made.case("Vague"), rule=None, verdict=Verdict.INCONCLUSIVE, rival_ratio=None, ratio=None),
        made.ran(made.case("Restless"), reproducible=False),
        made.skipped(made.case("Without")),
        all_cases=True,
    )


class TestSilence:
    def test_a_run_held_against_itself_finds_nothing(self, sound):
        found = held(sound, baseline_of(sound), strict=True)
        assert added(found) == []
        assert (found.missing, found.status, found.not_comparable) == ((), ExitStatus.AS_EXPECTED, "")
        checks = {each.case.name.split("/")[1]: each.result.checks[-1] for each in found.results}
        assert {check.name for check in checks.values()} == {"baseline"}
        assert {name: check.outcome for name, check in checks.items()} == {
            "AdamW": "passed",
            "SGDW": "passed",
            "Restless": "passed",
            "Vague": "skipped",
            "Without": "skipped",
        }
        assert found.notes == (
            "4 cases compared with the baseline of 2026-11-22",
            "1 case skipped, as in the baseline",
            "bits compared for 3 cases, not for 1 (not reproducible)",
        )

    def test_nothing_else_of_the_results_changes(self, sound):
        for before, after in zip(sound.results, held(sound, baseline_of(sound)).results, strict=True):
            assert replace(after.result, checks=after.result.checks[:-1]) == before.result
            assert replace(after, result=before.result) == before
            assert after.result.exit_status is before.result.exit_status

    @given(data=st.data())
    def test_any_run_is_silent_against_itself(self, made, data):
        def drawn(number):
            of = made.case(f"Optimizer{number}", slow=data.draw(st.booleans()))
            if data.draw(st.booleans()):
                return made.skipped(of)
            distance = data.draw(st.none() | st.integers(0, 2**64 - 1))
            return made.ran(
                of,
                ratio=data.draw(st.none() | st.floats(0, 1)),
                rule=data.draw(st.sampled_from(["adamw", "sgdw", None])),
                verdict=data.draw(st.sampled_from([*Verdict])),
                rival_ratio=data.draw(st.none() | st.floats(0)),
                reproducible=data.draw(st.sampled_from([True, False, None])),
                from_cpu=None if distance is None else apart(distance),
                bits=f"{number:064x}",
                findings=data.draw(st.sampled_from([(), (OUTSIDE,)])),
            )

        results = [drawn(number) for number in range(data.draw(st.integers(1, 4)))]
        run = made.run(*results, patterns=data.draw(st.sampled_from(((), ("*",)))), all_cases=data.draw(st.booleans()))
        found = held(run, baseline_of(run), strict=True)
        assert added(found) == added(held(run, replace(baseline_of(run), place=made.GPU)))
        assert found.missing == ()

    @given(ratio=st.floats(0, 1))
    def test_what_is_allowed_is_inside_the_bound_and_never_less_than_there_was(self, ratio):
        assert ratio <= allowed_ratio(ratio) <= 1.0
        assert (allowed_ratio(ratio) > ratio) == (ratio < 1.0)


DECIDED = {"rule": None, "verdict": Verdict.INCONCLUSIVE, "ratio": None}
WORSE = {
    # what is planted: (figures then, figures now, figure, what the message says)
    "ratio": ({"ratio": 0.6}, {"ratio": 0.81}, "bound_ratio", "allows 0.8, half of the room"),
    "ratio near the bound": ({"ratio": 0.99}, {"ratio": 0.9951}, "bound_ratio", "0.9951 of it is used"),
    "ratio of a bound not used": ({"ratio": 0.0}, {"ratio": 0.51}, "bound_ratio", "allows 0.5"),
    "distance": ({"from_cpu": apart(3)}, {"from_cpu": apart(7)}, "from_cpu.largest", "7 units in the last place"),
    "first distance": ({"from_cpu": apart(0)}, {"from_cpu": apart(3)}, "from_cpu.largest", "holds 0 and allows 2"),
    "undecided": ({}, DECIDED, "verdict", "the verdict is inconclusive (no rule), where the baseline holds decoupled"),
    "another rule": ({}, {"rule": "sgdw"}, "verdict", "decoupled (sgdw)"),
    "another verdict": ({}, {"verdict": Verdict.EQUIVALENT}, "verdict", "equivalent (adamw)"),
    "not reproducible": ({}, {"reproducible": False, "bits": "cd" * 32}, "reproducible", "no longer gives the same"),
    "separation": ({"rival_ratio": 10.0}, {"rival_ratio": 9.9}, "rival_ratio", "adam_l2 is 9.9 bounds apart"),
    "no rival": ({"rival_ratio": math.inf}, {"rival_ratio": None}, "rival_ratio", "no rival is apart"),
    "bits": ({}, {"bits": "cd" * 32}, "bits", "cdcdcdcdcdcd, baseline abababababab"),
}
NOT_WORSE = {
    "the same": ({}, {}),
    "a ratio that rounds otherwise": ({"ratio": 0.83}, {"ratio": 0.88}),
    "just what is allowed": ({"ratio": 0.6}, {"ratio": 0.8}),
    "on the bound, as it was": ({"ratio": 1.0}, {"ratio": 1.0}),
    "a smaller ratio": ({"ratio": 0.6}, {"ratio": 0.1}),
    "a unit a step": ({"from_cpu": apart(0)}, {"from_cpu": apart(2)}),
    "twice the distance": ({"from_cpu": apart(3)}, {"from_cpu": apart(6)}),
    "another distance": ({"from_cpu": apart(0)}, {"from_cpu": apart(9, "fused on cpu")}),
    "a distance no longer measured": ({"from_cpu": apart(0)}, {}),
    "a distance not measured before": ({}, {"from_cpu": apart(9)}),
    "decided at last": (DECIDED, {}),
    "a rival that was near": ({"rival_ratio": 9.0}, {"rival_ratio": 2.0}),
    "a rival far enough": ({"rival_ratio": 9000.0}, {"rival_ratio": 10.0}),
    "reproducible at last": ({"reproducible": False}, {"reproducible": True, "bits": "cd" * 32}),
    "run once": ({"reproducible": True}, {"reproducible": None}),
    "never reproducible": ({"reproducible": False}, {"reproducible": False, "bits": "cd" * 32}),
    "other flags": ({}, {"flags": {"tf32": "on"}, "bits": "cd" * 32}),
}


class TestWorse:
    @pytest.mark.parametrize("what", WORSE)
    def test_what_is_worse_is_named(self, made, what):
        then, now, figure, said = WORSE[what]
        run = made.run(made.ran(**now))
        baseline = baseline_of(made.run(made.ran(**then), date="2026-01-31"))
        for strict, severity, status in ((False, "warning", {0, 4}), (True, "error", {1})):
            found = held(run, baseline, strict=strict)
            assert added(found) == [(run.results[0].case.name, "OC502", severity)]
            result = found.results[0].result
            (finding,) = result.findings
            assert finding.evidence["figure"] == figure
            assert {"then", "now", "allowed"} <= finding.evidence.keys()
            assert said in finding.message
            assert finding.message.endswith("(baseline of 2026-01-31)")
            assert finding.rerun == result.rerun
            assert int(result.exit_status) in status
            check = result.checks[-1]
            assert (check.name, check.outcome, check.code, str(check.severity)) == (
                "baseline",
                "failed",
                "OC502",
                severity,
            )

    @pytest.mark.parametrize("what", NOT_WORSE)
    def test_what_is_not_worse_is_not(self, made, what):
        then, now = NOT_WORSE[what]
        assert added(held(made.run(made.ran(**now)), baseline_of(made.run(made.ran(**then))), strict=True)) == []

    def test_every_rule_is_planted(self):
        figures = {figure for _, _, figure, _ in WORSE.values()}
        assert len(figures) == len(FIGURES) + 1  # the bits are compared on the same hardware alone

    def test_several_figures_are_several_findings(self, made):
        run = made.run(made.ran(ratio=0.9, reproducible=False, rival_ratio=2.0))
        found = held(run, baseline_of(made.run(made.ran())))
        figures = [finding.evidence["figure"] for finding in found.results[0].result.findings]
        assert figures == ["bound_ratio", "reproducible", "rival_ratio"]


class TestBits:
    def test_they_are_not_compared_across_hardware(self, made, other_place):
        run = made.run(made.ran(bits="cd" * 32), place=other_place)
        found = held(run, baseline_of(made.run(made.ran())), strict=True)
        assert added(found) == []
        assert "bits compared for 0 cases, not for 1 (another processor or driver)" in found.notes

    def test_they_are_not_compared_across_drivers_but_across_devices(self, made):
        baseline = baseline_of(made.run(made.ran(), place=made.GPU))
        second = replace(made.GPU, device="gpu:7")
        driver = replace(second, details={**second.details, "driver": "580.2"})
        for place, rules in ((second, ["OC502"]), (driver, [])):
            run = made.run(made.ran(bits="cd" * 32), place=place)
            assert [rule for _, rule, _ in added(held(run, baseline))] == rules

    def test_they_are_not_compared_across_versions(self, made):
        newer = made.ran(bits="cd" * 32)
        newer = replace(newer, result=replace(newer.result, versions={**newer.result.versions, "numpy": "2.5.0"}))
        found = held(
            made.run(newer, made.ran(made.case("SGDW"))), baseline_of(made.run(made.ran(), made.ran(made.case("SGDW"))))
        )
        assert added(found) == []
        assert "bits compared for 1 case, not for 1 (other versions)" in found.notes

    @pytest.mark.parametrize(
        ("package", "version", "compared"), [("optconform", "0.1.0+checkout", 1), ("numpy", "2.4.6+mkl", 0)]
    )
    def test_a_checkout_is_the_version_it_says_and_another_build_is_not(self, made, package, version, compared):
        built = made.ran(bits="cd" * 32)
        built = replace(built, result=replace(built.result, versions={**built.result.versions, package: version}))
        assert len(added(held(made.run(built), baseline_of(made.run(made.ran()))))) == compared

    def test_a_distance_that_is_not_compared_is_counted(self, made):
        run = made.run(made.ran(), made.ran(made.case("SGDW"), from_cpu=apart(1)))
        then = made.run(made.ran(from_cpu=apart(1)), made.ran(made.case("SGDW"), from_cpu=apart(1)))
        (note,) = (note for note in held(run, baseline_of(then)).notes if note.startswith("distance"))
        assert note.startswith("distance from the CPU compared for 1 case, not for 1 (not measured now")


class TestCoverage:
    """One case stays; what becomes of the other."""

    @pytest.fixture
    def both(self, made, monkeypatch):
        monkeypatch.setattr("optconform.adapters.frameworks.is_findable", lambda name: True)
        return made.run(made.ran(made.case("A")), made.ran(made.case("B", runtime="torch")))

    def test_a_removed_case_is_missing(self, made, both):
        found = held(replace(both, results=both.results[:1]), baseline_of(both))
        (missing,) = found.missing
        assert added(found) == [(both.results[1].case.name, "OC503", "error")]
        assert "ran when the baseline was made and did not run now; bring it back" in messages(found)[0]
        assert missing.result.exit_status is ExitStatus.NOT_AS_EXPECTED
        assert (missing.measured, missing.skipped) == (Measured(), "")
        assert missing.case.name == both.results[1].case.name
        assert missing.result.rerun == ""  # there is no such case to be run
        document = missing.result.to_json()
        jsonschema.validate(document, AUDIT)
        assert Result.from_json(document) == missing.result

    def test_a_trace_in_a_folder_stays_one(self, made):
        run = made.run(made.ran(), made.ran(made.case(trace="folder/recorded.trace")))
        (missing,) = held(replace(run, results=run.results[:1]), baseline_of(run)).missing
        assert (missing.case.execution, missing.case.trace) == ("loop", "folder/recorded.trace")

    def test_what_is_not_installed_is_said(self, both, monkeypatch):
        monkeypatch.setattr("optconform.adapters.frameworks.is_findable", lambda name: name == "numpy")
        found = held(replace(both, results=both.results[:1]), baseline_of(both))
        assert "what it runs on is not installed; install it" in messages(found)[0]

    def test_no_case_at_all_misses_every_one(self, both):
        assert len(held(replace(both, results=()), baseline_of(both)).missing) == 2

    def test_a_renamed_case_is_said_to_be(self, made, both):
        of = replace(both.results[1].case, setting="renamed")
        found = held(made.run(both.results[0], made.ran(of)), baseline_of(both))
        assert [rule for _, rule, _ in added(found)] == ["OC503", "OC503"]
        new, old = messages(found)
        assert f"does not hold {of.name!r}, which holds the same definition as {both.results[1].case.name!r}" in new
        assert f"its definition is now that of {of.name!r}, so it was renamed" in old

    def test_another_trace_of_the_same_name_is_another_case(self, made, both):
        found = held(made.run(both.results[0], made.ran(both.results[1].case, trace="ef" * 32)), baseline_of(both))
        assert added(found) == [(both.results[1].case.name, "OC503", "error")]
        assert "another trace of this name (sha256 efefefefefef, baseline cdcdcdcdcdcd)" in messages(found)[0]

    def test_a_new_case_is_to_be_added(self, made, both):
        of = made.case("New")
        found = held(made.run(*both.results, made.ran(of)), baseline_of(both))
        assert added(found) == [(of.name, "OC503", "error")]
        assert messages(found) == [f"the baseline does not hold {of.name!r}; add it with --update-baseline"]

    def test_another_case_of_the_same_name_is_none_of_it(self, made, both):
        of = made.case("A", options={"eps": 1e-6})
        assert of.name == both.results[0].case.name
        found = held(made.run(made.ran(of), both.results[1]), baseline_of(both))
        assert added(found) == [(of.name, "OC503", "error")]
        assert "is another case than the baseline holds under this name" in messages(found)[0]

    def test_a_case_that_is_skipped_now_did_not_run(self, made, both):
        of = both.results[1].case
        found = held(made.run(both.results[0], made.skipped(of, "no fused kernels")), baseline_of(both))
        assert added(found) == [(of.name, "OC503", "error")]
        assert "ran when the baseline was made and is skipped now: no fused kernels" in messages(found)[0]
        assert found.results[1].result.exit_status is ExitStatus.NOT_AS_EXPECTED

    def test_one_skip_more_than_the_baseline_has_is_one_too_many(self, made, both):
        of = made.case("Third")
        found = held(made.run(*both.results, made.skipped(of)), baseline_of(both))
        assert added(found) == [(of.name, "OC503", "error")]

    def test_what_was_skipped_then_may_be_gone_or_run(self, made, both):
        skipped = made.skipped(made.case("Third"))
        baseline = baseline_of(made.run(*both.results, skipped))
        assert added(held(both, baseline, strict=True)) == []
        found = held(made.run(*both.results, made.ran(skipped.case)), baseline, strict=True)
        assert added(found) == []
        assert "1 case ran that the baseline holds as skipped; --update-baseline holds the figures too" in found.notes

    @pytest.mark.parametrize(
        ("how", "note"),
        [
            ({"not_asked": ("torch",)}, "1 case of the baseline not missed: of runtimes that were left out by name"),
            (
                {"patterns": ("numpy/AdamW/*",)},
                "1 case of the baseline not missed: of a run that was narrowed to single cases",
            ),
            ({"patterns": ("numpy/AdamW/*", "*/float32/*")}, None),
            ({"not_asked": ("tensorflow",)}, None),
            ({"all_cases": True}, None),
        ],
    )
    def test_what_was_not_asked_for_is_not_missed_but_said(self, both, how, note):
        found = held(replace(both, results=both.results[:1], **how), baseline_of(both))
        assert len(found.missing) == (note is None)
        assert found.notes[2:] == (() if note is None else (note,))

    def test_a_slow_case_is_missed_where_all_are_asked_for(self, made):
        both = made.run(made.ran(), made.ran(made.case("Slow", slow=True)))
        quick = replace(both, results=both.results[:1])
        found = held(quick, baseline_of(both))
        assert found.missing == ()
        assert "1 case of the baseline not missed: slow and left out without --all" in found.notes
        assert len(held(replace(quick, all_cases=True), baseline_of(both)).missing) == 1


class TestAnotherClass:
    def test_nothing_is_compared_and_that_is_said(self, made, both_classes):
        run, baseline = both_classes
        for allow, status in ((False, ExitStatus.NOT_COMPARABLE), (True, ExitStatus.AS_EXPECTED)):
            found = held(run, baseline, strict=True, allow_new_device=allow)
            assert (found.results, found.missing, found.status) == (run.results, (), status)
            assert found.not_comparable.startswith(
                "not compared: this run took place on 'NVIDIA H200', and the baseline is of 'cpu'"
            )

    @pytest.fixture
    def both_classes(self, made):
        """Everything would be worse."""
        baseline = baseline_of(made.run(made.ran(ratio=0.1), made.ran(made.case("Gone"))))
        return made.run(made.ran(ratio=0.99, reproducible=False), made.ran(made.case("New")), place=made.GPU), baseline

    @given(ratio=st.floats(0, 1), now=st.floats(0, 1), names=st.lists(st.text(min_size=1), min_size=2, max_size=2))
    def test_no_ratio_is_compared_across_classes(self, made, ratio, now, names):
        here, there = (replace(made.GPU, device_class=name) for name in names)
        run = made.run(made.ran(ratio=now), place=here)
        found = held(run, baseline_of(made.run(made.ran(ratio=ratio), place=there)))
        if names[0] == names[1]:
            assert bool(added(found)) == (now > allowed_ratio(ratio))
            assert not found.not_comparable
        else:
            assert added(found) == []
            assert found.not_comparable


class TestWhatTheRunFound:
    @pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
    def test_no_baseline_lets_a_case_pass_that_is_outside_its_bound(self, made, ratio):
        run = made.run(made.ran(ratio=7.0, findings=[OUTSIDE], verdict=Verdict.OTHER))
        forged = baseline_of(made.run(made.ran(ratio=ratio)))
        found = held(run, forged)
        assert found.results[0].result.findings == (OUTSIDE,)
        assert found.results[0].result.exit_status is ExitStatus.NOT_AS_EXPECTED
        assert found.results[0].result.checks[-1].outcome == "skipped"
        assert "1 case not compared, wrong already without a baseline" in found.notes
        assert "0 cases compared with the baseline of 2026-11-22" in found.notes

    def test_a_case_that_could_not_run_keeps_its_status(self, made):
        run = made.run(made.ran(verdict=Verdict.ERROR))
        found = held(run, baseline_of(made.run(made.ran())))
        assert found.results[0].result.exit_status is ExitStatus.COULD_NOT_RUN

    def test_a_baseline_decides_nothing(self, made):
        """A case of which nothing is decided does not pass by being the same as before."""
        vague = made.ran(rule=None, ratio=None, rival_ratio=None)
        assert vague.result.exit_status is ExitStatus.UNDECIDED
        found = held(made.run(vague), baseline_of(made.run(vague)))
        assert found.results[0].result.exit_status is ExitStatus.UNDECIDED
