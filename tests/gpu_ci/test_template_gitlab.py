"""The template for GitLab, as data: its triggers, and what it keeps."""

import re
from pathlib import Path

import pytest
import yaml

TEMPLATE = Path(__file__).resolve().parents[2] / "gpu_ci" / "templates" / "gitlab-ci.yml"
TEXT = TEMPLATE.read_text(encoding="utf-8")
PIPELINE = yaml.safe_load(TEXT)


def test_it_runs_in_schedules_by_hand_and_for_labelled_merge_requests():
    *others, labelled = (rule["if"] for rule in PIPELINE["gate"]["rules"])
    assert others == [f'$CI_PIPELINE_SOURCE == "{source}"' for source in ("schedule", "web")]
    assert labelled.startswith('$CI_PIPELINE_SOURCE == "merge_request_event" && $CI_MERGE_REQUEST_LABELS =~ /')


@pytest.mark.parametrize(
    ("labels", "runs"),
    [("gpu", True), ("docs,gpu", True), ("gpu,docs", True), ("no-gpu", False), ("gpus", False), ("", False)],
)
def test_the_label_is_looked_for_as_a_whole(labels, runs):
    (pattern,) = re.findall(r"=~ /(.*)/$", PIPELINE["gate"]["rules"][-1]["if"])
    assert bool(re.search(pattern, labels)) is runs


def test_what_the_gate_left_is_kept_whatever_it_says():
    kept = PIPELINE["gate"]["artifacts"]
    output = PIPELINE["variables"]["OPTCONFORM_GATE_OUTPUT"]
    assert kept["when"] == "always"
    assert kept["paths"] == [output, "gpu_ci/baselines"]
    assert kept["reports"] == {"junit": f"{output}/*/junit.xml"}


def test_it_runs_on_a_device_in_every_environment_and_comes_to_an_end():
    assert PIPELINE["variables"]["OPTCONFORM_DEVICE"] == "cuda"
    assert PIPELINE["variables"]["GATE_ENVIRONMENTS"]["value"] == "gpu-torch,gpu-jax,gpu-tensorflow"
    assert PIPELINE["gate"]["timeout"] == "1 hour"
