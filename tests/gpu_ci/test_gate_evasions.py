"""What could slip past the gate: faults of form, of later runs, of what was named and did not run."""

import json
from importlib import resources

import jsonschema
import pytest
from referencing import Registry, Resource

from optconform.adapters.execution import RUNTIMES
from optconform.gpu_ci import case_list, selection
from optconform.gpu_ci.case_list import SWEEPS, declared_cases
from optconform.gpu_ci.gate import Rules, baseline_path, judged_run
from optconform.gpu_ci.running import process_environment
from optconform.gpu_ci.selection import Selection, select

NUMPY = ("--framework", "numpy")


@pytest.fixture(scope="module")
def schema():
    """What validates a document of the gate, the audits in it too."""
    folder = resources.files("optconform.conformance").joinpath("schema")
    documents = [json.loads(folder.joinpath(f"{name}-1.schema.json").read_text("utf-8")) for name in ("gate", "audit")]
    registry = Registry().with_resources([(each["$id"], Resource.from_contents(each)) for each in documents])
    return jsonschema.Draft202012Validator(documents[0], registry=registry)


def test_faults_of_form_and_of_later_runs_are_found(gate, planted, schema):
    names = ("LateCorrection", "RoundedRate", "DecayAfterwards", "NaNs", "WorseLater", "Dies")
    (_, *settings) = planted("Sound")
    status, document = gate.document(*(planted(name)[0] for name in names), *settings, "--set", "weight_decay=0.5")
    assert status == 3
    schema.validate(document)
    found = {
        result["case"].split("/")[1]: {
            each["rule"]: each["severity"] for each in result["findings"] if each["severity"] != "info"
        }
        for result in document["results"]
    }
    assert found == {
        "LateCorrection": {"OC303": "error"},
        "RoundedRate": {"OC501": "error"},
        "DecayAfterwards": {"OC104": "warning"},
        "NaNs": {"OC501": "error"},
        "WorseLater": {"OC501": "error", "OC411": "warning"},
        "Dies": {"OC904": "error"},
    }
    exits = {result["case"].split("/")[1]: result["exit_status"] for result in document["results"]}
    assert exits == {**dict.fromkeys(names, 1), "DecayAfterwards": 0, "Dies": 3}


def test_an_order_that_is_expected_is_required(gate, planted):
    expected = ("--set", "weight_decay=0.5", "--expect", "decoupled,order=previous")
    status, found = gate.codes(*planted("DecayAfterwards"), *expected)
    assert status == 1
    assert [findings["OC501"] for findings in found.values()] == ["error"]


def test_what_does_not_count_is_said(gate, planted):
    arguments = (*planted("OneUlpMore"), "--expect", "any", "--ignore", "OC501", "--ignore", "OC301")
    assert gate(*arguments) == 0
    assert "findings not counted: OC501, OC301" in gate.out


def test_every_decoupled_case_that_is_declared_expects_law_and_order():
    decoupled = [sweep.expected for sweep in SWEEPS if sweep.expected.startswith("decoupled")]
    assert decoupled
    assert all("law=lr*wd,order=previous" in expected for expected in decoupled)


def test_a_removed_case_that_a_pattern_names_is_missed(gate, tmp_path, monkeypatch):
    baseline = tmp_path / "cpu.json"
    assert gate(*NUMPY, "--baseline", baseline, "--update-baseline") == 0
    first, *others = declared_cases("cpu")
    monkeypatch.setattr(case_list, "declared_cases", lambda device: tuple(others))
    status, found = gate.codes("--case", "numpy/*", "--baseline", baseline)
    assert (status, found) == (1, {first.name: {"OC503": "error"}})
    status, document = gate.document("--case", "numpy/SGDW/*", "--baseline", baseline)
    assert status == 0
    assert "2 cases of the baseline not missed" in document["baseline"]["sentence"]


def test_what_a_pattern_alone_asks_for_is_run_though_it_is_not_installed(monkeypatch):
    monkeypatch.setattr(selection, "runtime_present", lambda row: row.name == "numpy")
    declared = declared_cases("cpu")

    def chosen(*patterns):
        taken = select(declared, patterns=patterns)
        return {case.runtime for case in taken.cases}, taken.absent

    assert chosen("torch/SGD/*", "numpy/*") == ({"torch", "numpy"}, ("tensorflow", "jax", "keras-jax", "keras-torch"))
    assert chosen("*/float64/*")[0] == {"numpy"}


def test_skips_count_where_nothing_is_compared(made, tmp_path):
    from optconform.gpu_ci.baseline import baseline_of, write_baseline

    path = tmp_path / "gpu.json"
    write_baseline(baseline_of(made.run(made.ran(), place=made.GPU)), path)
    run = made.run(made.ran(), made.skipped(made.case("Other")))
    rules = Rules(str(path), allow_new_device=True)
    assert int(judged_run(run, Selection(()), rules).exit_status) == 1
    assert int(judged_run(made.run(made.ran()), Selection(()), rules).exit_status) == 0


def test_two_targets_of_one_name_are_refused_and_one_named_twice_is_run_once(gate, planted, tmp_path):
    target, *settings = planted("Sound")
    copy = tmp_path / "copy.py"
    copy.write_text("from optconform.adapters.numpy_optimizers import AdamW as Sound\n")
    assert gate(target, f"{copy}:Sound", *settings) == 2
    assert "numpy/Sound/default" in gate.err
    status, document = gate.document(target, target, *settings)
    assert (status, document["counts"]["cases"]) == (0, 1)


@pytest.mark.parametrize(
    ("visible", "device", "given"),
    [
        (None, "gpu:0", "0"),
        (None, "gpu:3", "3"),
        ("", "gpu:0", ""),
        ("", "gpu:1", ""),
        ("2,3", "gpu:0", "2"),
        ("2,3", "gpu:1", "3"),
        ("2,3", "gpu:2", ""),
        ("GPU-8932f937,GPU-d56b2f1c", "gpu:1", "GPU-d56b2f1c"),
        ("MIG-one, MIG-two", "gpu:1", "MIG-two"),
        ("0,1", "cpu", ""),
    ],
)
def test_a_process_sees_one_device_and_none_that_is_hidden(monkeypatch, visible, device, given):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert process_environment(RUNTIMES["torch"], device)["CUDA_VISIBLE_DEVICES"] == given


def test_a_baseline_of_any_name_is_a_file_where_it_is_one(made, tmp_path):
    named = tmp_path / "baseline.txt"
    assert baseline_path(str(named), made.CPU) == named / "cpu.json"
    named.write_text("{}")
    assert baseline_path(str(named), made.CPU) == named


def test_an_empty_name_is_no_baseline(gate):
    assert gate("--case", "numpy/SGDW/*", "--baseline", "") == 2
    assert "--baseline ''" in gate.err
