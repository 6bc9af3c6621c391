"""A run becomes a baseline only if it is fit to be one, keeps what it need not have, and says what it changes."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optconform.conformance.json_form import plain_fields
from optconform.conformance.measured import Apart
from optconform.conformance.outcomes import Finding
from optconform.conformance.result import Decision, Match, Severity, Verdict
from optconform.gpu_ci.baseline import BaselineError, baseline_of, format_baseline, parse_baseline
from optconform.gpu_ci.baseline_change import FieldChange, changes, describe, updated_baseline, why_unfit
from optconform.gpu_ci.regression import hold_against

OUTSIDE = Finding("OC501", "device-mismatch", Severity.ERROR, "outside")
ELSEWHERE = Finding("OC503", "coverage-shrank", Severity.ERROR, "not on the device")


def with_result(measured, **fields):
    return replace(measured, result=replace(measured.result, **fields))


class TestFitness:
    def test_a_sound_run_is_fit(self, made):
        vague = made.ran(made.case("Vague"), rule=None, ratio=None, verdict=Verdict.INCONCLUSIVE)
        restless = made.ran(made.case("Restless"), reproducible=False)
        unknown = with_result(made.ran(made.case("Lion"), rule=None), verdict=Verdict.INCONCLUSIVE)
        unknown = with_result(unknown, match=Match(Decision.REJECT))
        run = made.run(made.ran(), vague, restless, unknown, made.skipped(made.case("Without")))
        assert why_unfit(run) == ""
        assert updated_baseline(run, None) == baseline_of(run)

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"findings": (OUTSIDE,)}, "outside the bound: numpy/Bad/default"),
            ({"match": Match(Decision.REJECT), "verdict": Verdict.OTHER}, "outside the bound: numpy/Bad/default"),
            ({"match": Match(Decision.ACCEPT, "adamw", bound_ratio=1.5)}, "outside the bound: numpy/Bad/default"),
            ({"match": Match(Decision.ACCEPT, "adamw", bound_ratio=float("nan"))}, "outside the bound: numpy/Bad"),
            ({"findings": (ELSEWHERE,)}, "not as expected: numpy/Bad/default"),
            ({"verdict": Verdict.ERROR}, "could not run: numpy/Bad/default"),
        ],
    )
    def test_what_did_not_end_well_makes_no_baseline(self, made, fields, said):
        """Findings that the user ignores are gone from a result; its figures are not."""
        run = made.run(made.ran(), with_result(made.ran(made.case("Bad")), **fields))
        with pytest.raises(BaselineError, match=f"^no baseline was made: {said}") as caught:
            updated_baseline(run, None)
        assert str(caught.value).endswith("; correct what the findings say, then update again")
        assert "AdamW" not in str(caught.value)

    def test_every_reason_is_said_and_not_every_name(self, made):
        bad = [with_result(made.ran(made.case(f"Bad{number}")), findings=(OUTSIDE,)) for number in range(5)]
        lost = with_result(made.ran(made.case("Lost")), verdict=Verdict.ERROR)
        unfit = why_unfit(made.run(*bad, lost))
        assert "could not run: numpy/Lost/default/float32/loop/synthetic:mixed; outside the bound: " in unfit
        assert "numpy/Bad2/default/float32/loop/synthetic:mixed and 2 more" in unfit

    def test_nothing_that_ran_makes_no_baseline(self, made):
        for run in (made.run(), made.run(made.skipped())):
            with pytest.raises(BaselineError, match="no case ran"):
                updated_baseline(run, None)


class TestKeeping:
    @pytest.fixture
    def old(self, made):
        results = (made.ran(made.case("A")), made.ran(made.case("B", runtime="torch")))
        return baseline_of(made.run(*results, made.ran(made.case("Slow", slow=True)), date="2026-01-31"))

    @pytest.mark.parametrize(
        ("how", "kept"),
        [
            ({}, {"Slow"}),
            ({"all_cases": True}, set()),
            ({"not_asked": ("torch",)}, {"B", "Slow"}),
            ({"not_asked": ("torch",), "all_cases": True}, {"B"}),
            ({"patterns": ("*/A/*",)}, {"B", "Slow"}),
            ({"patterns": ("*/A/*", "numpy/Slow/*")}, {"B"}),
        ],
    )
    def test_what_a_run_need_not_have_is_kept(self, made, old, how, kept):
        new = updated_baseline(made.run(made.ran(made.case("A"), ratio=0.5), **how), old)
        assert {name.split("/")[1] for name in new.cases} == kept | {"A"}
        assert new.cases[made.case("A").name].bound_ratio == 0.5
        for name in new.cases.keys() - {made.case("A").name}:
            assert new.cases[name] == old.cases[name]
        assert (new.date, new.place) == ("2026-11-22", old.place)

    def test_what_is_kept_stays_of_its_own_hardware(self, made, old):
        place = replace(made.CPU, name="Processor 9001")
        run = made.run(made.ran(made.case("A")), patterns=("*/A/*",), place=place)
        with pytest.raises(BaselineError, match=r"2 cases would be kept that were measured on 'Processor 9000'"):
            updated_baseline(run, old)
        whole = replace(run, patterns=(), all_cases=True)
        assert updated_baseline(whole, old) == baseline_of(whole)

    def test_another_class_does_not_take_its_file(self, made, old):
        run = made.run(made.ran(), place=made.GPU, all_cases=True)
        with pytest.raises(BaselineError, match=r"the file is of 'cpu' and this run took place on 'NVIDIA H200'"):
            updated_baseline(run, old)

    @given(data=st.data())
    def test_after_an_update_the_same_run_is_silent(self, made, data):
        def drawn():
            names = data.draw(st.lists(st.sampled_from("ABCDE"), unique=True, min_size=1))
            runtimes = {name: data.draw(st.sampled_from(["numpy", "torch"])) for name in names}
            slow = {name: data.draw(st.booleans()) for name in names}
            results = (
                made.ran(
                    made.case(name, runtime=runtimes[name], slow=slow[name]),
                    ratio=data.draw(st.floats(0, 1)),
                    bits=data.draw(st.sampled_from(["ab" * 32, "cd" * 32])),
                )
                for name in names
            )
            return made.run(*results)

        patterns = st.sampled_from([(), ("numpy/*",), ("*/A/*", "*/B/*"), ("*",)])
        first, run = drawn(), replace(drawn(), patterns=data.draw(patterns), all_cases=data.draw(st.booleans()))
        new = updated_baseline(run, updated_baseline(first, None))
        assert parse_baseline(format_baseline(new).encode(), "file") == new
        found = hold_against(run, new, strict=True, allow_new_device=False)
        assert found.missing == ()
        assert not any(each.result.findings for each in found.results)
        assert not changes(new, updated_baseline(run, new)).changed


class TestChange:
    def test_what_changes_is_data(self, made):
        apart = Apart(3.0, 0.0, 0.5, 60, "loop on cpu")
        old = baseline_of(made.run(made.ran(made.case("A")), made.ran(made.case("B")), made.ran(made.case("Gone"))))
        newer = with_result(made.ran(made.case("B"), ratio=0.5, from_cpu=apart), versions={"numpy": "2.5.0"})
        new = baseline_of(made.run(made.ran(made.case("A")), newer, made.ran(made.case("New"))))
        change = changes(old, new)
        a, b, gone, added = (made.case(target).name for target in ("A", "B", "Gone", "New"))
        assert (list(change.added), change.removed, change.unchanged, change.place) == ([added], (gone,), 1, ())
        assert a not in change.changed
        assert change.changed[b] == (
            FieldChange("bound_ratio", 0.4, 0.5),
            FieldChange("from_cpu.largest", None, 3),
            FieldChange("from_cpu.median", None, 0.0),
            FieldChange("from_cpu.share", None, 0.5),
            FieldChange("from_cpu.steps", None, 60),
            FieldChange("from_cpu.against", None, "loop on cpu"),
            FieldChange("versions.numpy", "2.4.6", "2.5.0"),
            FieldChange("versions.optconform", "0.1.0", None),
        )
        assert json.loads(json.dumps(plain_fields(change)))["changed"][b][0] == {
            "field": "bound_ratio",
            "then": 0.4,
            "now": 0.5,
        }

    def test_of_nothing_everything_is_added(self, made):
        new = baseline_of(made.run(made.ran(), made.skipped(made.case("Without"))))
        assert describe(changes(None, new)).splitlines() == [
            "baseline: 2 added, 0 removed, 0 changed, 0 unchanged",
            "+ numpy/AdamW/default/float32/loop/synthetic:mixed: decoupled (adamw), 0.4 of the bound",
            "+ numpy/Without/default/float32/loop/synthetic:mixed: skipped, no such way here",
        ]

    def test_nothing_is_said_to_be_nothing(self, made):
        same = baseline_of(made.run(made.ran()))
        assert describe(changes(same, same)) == "baseline: 0 added, 0 removed, 0 changed, 1 unchanged"

    def test_what_cases_share_is_said_once(self, made):
        results = [made.ran(made.case(target)) for target in "ABC"]
        newer = [with_result(each, versions={**each.result.versions, "numpy": "2.5.0"}) for each in results]
        newer[2] = replace(newer[2], measured=replace(newer[2].measured, bits="cd" * 32, reproducible=None))
        place = replace(made.CPU, name="Processor 9001")
        text = describe(changes(baseline_of(made.run(*results)), baseline_of(made.run(*newer, place=place))))
        assert text.splitlines() == [
            "baseline: 0 added, 0 removed, 3 changed, 0 unchanged",
            '  place.name: "Processor 9000" -> "Processor 9001"',
            '  versions.numpy: "2.4.6" -> "2.5.0" (3 cases)',
            "~ numpy/C/default/float32/loop/synthetic:mixed",
            "    bits: abababababab... -> cdcdcdcdcdcd...",
            "    reproducible: true -> nothing",
        ]

    def test_what_is_skipped_from_now_on_is_shown(self, made):
        old, new = (baseline_of(made.run(each)) for each in (made.ran(), made.skipped()))
        text = describe(changes(old, new))
        assert '    skipped: nothing -> "no such way here"' in text
        assert '    verdict: "decoupled" -> nothing' in text
