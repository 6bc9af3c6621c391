"""`optconform gate` as a user runs it: every way in which it must fail fails in its own way, and a sound run passes."""

import dataclasses
import json
import shlex
from importlib import resources

import jsonschema
import pytest
from referencing import Registry, Resource

from optconform.__main__ import main
from optconform.adapters.errors import MissingDevice
from optconform.conformance.workers import questions
from optconform.gpu_ci import case_list, running
from optconform.gpu_ci.case_list import declared_cases

NUMPY = ("--framework", "numpy")
ONE = ("--case", "numpy/SGDW/*")
"""Where it does not matter how many cases there are."""
GATE, AUDIT = (
    json.loads(resources.files("optconform.conformance").joinpath(f"schema/{name}-1.schema.json").read_text("utf-8"))
    for name in ("gate", "audit")
)
REGISTRY = Registry().with_resource(AUDIT["$id"], Resource.from_contents(AUDIT))


def test_sound_cases_pass_and_their_baseline_is_silent(gate, tmp_path):
    baseline = tmp_path / "cpu.json"
    assert gate(*NUMPY, "--baseline", baseline, "--update-baseline") == 0
    assert "added" in gate.out
    status, document = gate.document(*NUMPY, "--baseline", baseline, "--strict")
    assert status == document["exit_status"] == 0
    jsonschema.Draft202012Validator(GATE, registry=REGISTRY).validate(document)
    assert set(document) == set(GATE["properties"]), "the schema does not describe what is written"
    for part, described in (
        ("place", GATE["properties"]["place"]),
        ("baseline", GATE["properties"]["baseline"]["anyOf"][1]),
    ):
        assert set(document[part]) == set(described["properties"])
    assert set(document["results"][0]["measured"]) == set(GATE["$defs"]["measured"]["properties"])
    names = [case.name for case in declared_cases("cpu") if case.runtime == "numpy"]
    assert [each["case"] for each in document["results"]] == sorted(names)
    for each in document["results"]:
        assert each["findings"] == []
        assert each["match"]["bound_ratio"] <= 1.0 < each["separation"]["rival_ratio"]
        (distance,) = each["series"]["distances"]
        assert max(distance["own"]) == float(f"{each['match']['bound_ratio']:.6g}")
        assert each["measured"]["runs"] == 2
        assert each["measured"]["reproducible"] is True
        assert {check["outcome"] for check in each["checks"]["details"]} == {"passed"}


@pytest.mark.parametrize(
    ("name", "code"), [("OneUlpMore", "OC501"), ("Swapped", "OC501"), ("Raises", "OC902"), ("Dies", "OC904")]
)
def test_a_planted_fault_is_found_under_its_own_code(gate, planted, name, code):
    status, found = gate.codes(*planted(name))
    (findings,) = found.values()
    assert findings == {code: "error"}
    assert status == (1 if code == "OC501" else 3)


def test_what_is_outside_says_where_and_how_to_run_it_again(gate, planted):
    _, document = gate.document(*planted("OneUlpMore"))
    (result,) = document["results"]
    (finding,) = result["findings"]
    assert finding["evidence"]["step"] >= 1
    assert finding["evidence"]["factor"] > 1.0
    assert finding["parameter"]
    assert finding["rerun"].startswith("optconform gate ")
    assert "--rule adamw" in finding["rerun"]


def test_the_same_target_without_the_fault_passes(gate, planted):
    assert gate.codes(*planted("Sound")) == (0, {}), gate.out


def test_a_case_that_hangs_is_ended_and_the_others_go_on(gate, planted):
    (hangs, *settings), (sound, *_) = planted("Hangs"), planted("Sound")
    status, found = gate.codes(hangs, sound, *settings, "--timeout", 10)
    assert status == 3
    assert [(case.split("/")[1], findings) for case, findings in found.items()] == [("Hangs", {"OC903": "error"})]


def test_different_bits_are_a_warning_that_names_the_step(gate, planted):
    _, document = gate.document(*planted("Restless"), "--repeat", 3)
    (result,) = document["results"]
    assert "OC411" in {finding["rule"] for finding in result["findings"]}
    assert result["measured"]["reproducible"] is False


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The text of a baseline of this machine: one run for all that are held against it."""
    path = tmp_path_factory.mktemp("baseline") / "cpu.json"
    assert main(["gate", *NUMPY, "--baseline", str(path), "--update-baseline"]) == 0
    return path.read_text(encoding="utf-8")


@pytest.fixture
def baseline(measured, tmp_path):
    path = tmp_path / "cpu.json"
    path.write_text(measured, encoding="utf-8")
    return path


def _declare(monkeypatch, cases):
    monkeypatch.setattr(case_list, "declared_cases", lambda device: tuple(cases))


def _numpy_cases():
    return [case for case in declared_cases("cpu") if case.runtime == "numpy"]


def test_a_removed_case_is_missed(gate, baseline, monkeypatch):
    cases = _numpy_cases()
    _declare(monkeypatch, cases[1:])
    status, found = gate.codes(*NUMPY, "--baseline", baseline)
    assert (status, found) == (1, {cases[0].name: {"OC503": "error"}})


def test_a_renamed_case_is_missed_and_its_new_name_said(gate, baseline, monkeypatch):
    first, *others = _numpy_cases()
    renamed = dataclasses.replace(first, setting="other")
    _declare(monkeypatch, [renamed, *others])
    status, document = gate.document(*NUMPY, "--baseline", baseline)
    assert status == 1
    messages = {each["case"]: [finding["message"] for finding in each["findings"]] for each in document["results"]}
    assert renamed.name in " ".join(messages[first.name])
    assert messages[renamed.name]


def test_a_disabled_path_is_missed(gate, baseline, monkeypatch):
    first, *others = _numpy_cases()
    _declare(monkeypatch, [dataclasses.replace(first, execution="disabled"), *others])
    status, found = gate.codes(*NUMPY, "--baseline", baseline)
    assert status == 1
    assert found[first.name] == {"OC503": "error"}


def test_a_skipped_case_counts_against_the_run_unless_it_is_declared(gate, monkeypatch):
    first, second, *_ = _numpy_cases()
    _declare(monkeypatch, [first, dataclasses.replace(second, execution="disabled")])
    status, found = gate.codes(*NUMPY)
    assert (status, list(found.values())) == (1, [{"OC503": "error"}])
    assert gate(*NUMPY, "--skips", 1) == 0
    assert "skipped" in gate.out


def test_a_forged_baseline_is_refused_before_anything_runs(gate, baseline, monkeypatch):
    monkeypatch.setattr(running, "run_cases", pytest.fail)
    document = json.loads(baseline.read_text())
    next(iter(document["cases"].values()))["bound_ratio"] = 0.999
    baseline.write_text(json.dumps(document))
    for more in ((), ("--update-baseline",)):
        assert gate(*NUMPY, "--baseline", baseline, *more) == 2
        assert "sha256" in gate.err
    assert gate(*NUMPY, "--baseline", baseline.parent / "nowhere.json") == 2
    assert "no file" in gate.err


def test_an_absent_device_is_status_3_and_never_a_skip(gate, monkeypatch):
    assert gate(*NUMPY, "--device", "cuda") == 3
    assert "gpu:0" in gate.err

    # Whether it is there every framework would have to be asked, in a process of its own; `check` is tested with that.
    def absent(python, name):
        raise MissingDevice(f"--require {name}: not here")

    monkeypatch.setattr(questions, "require_in", absent)
    assert gate(*NUMPY, "--require", "cuda") == 3
    assert "--require cuda: not here" in gate.err


def test_zero_cases_are_no_pass(gate, monkeypatch):
    _declare(monkeypatch, [])
    assert gate() == 4
    assert "nothing ran" in gate.out


def test_a_baseline_of_another_class_is_not_compared(gate, baseline):
    from optconform.gpu_ci.baseline import read_baseline, write_baseline

    read = read_baseline(baseline)
    place = dataclasses.replace(read.place, device_class="NVIDIA H200", name="NVIDIA H200")
    write_baseline(dataclasses.replace(read, place=place), baseline)
    assert gate(*ONE, "--baseline", baseline) == 5
    assert "not compared" in gate.out
    assert gate(*ONE, "--baseline", baseline, "--allow-new-device") == 0


def test_a_folder_of_baselines_is_searched_for_the_class(gate, baseline, tmp_path):
    status, document = gate.document(*ONE, "--baseline", baseline.parent)
    assert (status, document["baseline"]["file"]) == (0, str(baseline))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert gate(*ONE, "--baseline", empty) == 5
    assert gate(*ONE, "--baseline", empty, "--update-baseline") == 0
    assert (empty / "cpu.json").is_file()


def test_an_unfit_run_makes_no_baseline(gate, planted, baseline):
    before = baseline.read_bytes()
    assert gate(*planted("Swapped"), "--baseline", baseline, "--update-baseline") == 1
    assert "no baseline was made" in gate.err
    assert baseline.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--case", "torch/*/nothing"), "fits none of"),
        (("--device", "tpu"), "tpu"),
        (("--update-baseline",), "--baseline"),
        (("--set", "lr=1"), "needs a TARGET"),
        (("some.py:Thing",), "--framework"),
        (("optconform.adapters.numpy_optimizers:AdamW", *NUMPY, "--paths", "fused"), "fused"),
        (("optconform.adapters.numpy_optimizers:AdamW", *NUMPY, "--set", "momentum=0.9"), "momentum"),
        (("optconform.adapters.numpy_optimizers:AdamW", *NUMPY, "--trace", "no_such_trace"), "no_such_trace"),
        (("--skips", "-1"), "--skips"),
        (("--repeat", "0"), "--repeat"),
    ],
)
def test_bad_input_is_said_and_ends_with_2_or_3(gate, arguments, said):
    assert gate(*arguments) in (2, 3)
    assert said in gate.err


def test_names_are_listed_and_nothing_is_run(gate):
    assert gate("--list", *NUMPY) == 0
    assert gate.out.splitlines() == [case.name for case in _numpy_cases()]


def test_a_run_leaves_every_format(gate, tmp_path, monkeypatch):
    summary = tmp_path / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    folder = tmp_path / "deep" / "gate"
    assert gate("--case", "numpy/SGDW/*", "--output", folder) == 0
    names = {path.name for path in folder.iterdir()}
    assert {"gate.json", "junit.xml", "summary.md"} <= names
    assert ("report.html" in names) != ("report.html was not written" in gate.err)
    assert "numpy/SGDW" in summary.read_text()


def test_an_update_takes_a_skipped_case_as_it_is(gate, baseline, monkeypatch):
    first, *others = _numpy_cases()
    _declare(monkeypatch, [dataclasses.replace(first, execution="disabled"), *others])
    assert gate(*NUMPY, "--baseline", baseline, "--update-baseline") == 0
    assert gate(*NUMPY, "--baseline", baseline) == 0
    assert "1 case skipped, as in the baseline" in gate.out


def test_a_rerun_command_runs_what_it_names(gate, planted):
    for arguments in (("--case", "numpy/SGDW/*"), planted("Swapped")):
        status, document = gate.document(*arguments)
        (result,) = document["results"]
        command = shlex.split(result["rerun"])
        assert command[:2] == ["optconform", "gate"]
        again, repeated = gate.document(*command[2:])
        assert (again, [each["case"] for each in repeated["results"]]) == (status, [result["case"]])
