"""The template of a workflow for GitHub Actions, as data: its triggers, and its rights."""

import json
import re
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
TEMPLATES = CHECKOUT / "gpu_ci" / "templates"
WORKFLOW = TEMPLATES / "github-actions.yml"
TEXT = WORKFLOW.read_text(encoding="utf-8")


def workflow():
    # YAML 1.1 takes the key `on` for a truth value.
    return {"on" if key is True else key: value for key, value in yaml.safe_load(TEXT).items()}


def gate_job():
    (job,) = workflow()["jobs"].values()
    return job


def test_it_runs_at_night_by_hand_and_for_pull_requests():
    triggers = workflow()["on"]
    assert set(triggers) == {"schedule", "pull_request", "workflow_dispatch"}
    ((minute, hour, *days),) = (entry["cron"].split() for entry in triggers["schedule"])
    assert (minute.isdigit(), int(hour) < 6, days) == (True, True, ["*", "*", "*"])
    assert triggers["pull_request"]["types"] == ["labeled", "synchronize", "reopened"]
    assert [given["default"] for given in triggers["workflow_dispatch"]["inputs"].values()] == ["", "", ""]


def holds(condition, github):
    """Evaluate a condition of GitHub's: dotted names, `.*.` for every item, &&, ||, ==, != and contains()."""

    def value(path):
        found, *rest = [github], *path.split(".")[1:]
        for step in rest:
            found = found[0] if step == "*" else [each.get(step, {}) for each in found]
        return found if "*" in rest else found[0]

    python = condition.replace("&&", "and").replace("||", "or")
    python = re.sub(r"github[\w.*]+", lambda name: f"value({name[0]!r})", python)
    return bool(eval(python, {"value": value, "contains": lambda items, item: item in items}))


def pull_request(action, *labels, added="", head="us/optimizer"):
    labelled = {"labels": [{"name": name} for name in labels], "head": {"repo": {"full_name": head}}}
    event = {"action": action, "pull_request": labelled} | ({"label": {"name": added}} if added else {})
    return {"event_name": "pull_request", "event": event}


@pytest.mark.parametrize(
    ("event", "runs"),
    [
        ({"event_name": "schedule", "event": {}}, True),
        ({"event_name": "workflow_dispatch", "event": {}}, True),
        (pull_request("labeled", "gpu", added="gpu"), True),
        (pull_request("labeled", "gpu", added="gpu", head="stranger/optimizer"), True),
        (pull_request("labeled", "gpu", "docs", added="docs"), False),
        (pull_request("synchronize", "docs", "gpu"), True),
        (pull_request("synchronize", "docs"), False),
        (pull_request("synchronize", "gpu", head="stranger/optimizer"), False),
        (pull_request("reopened", "gpu", head="stranger/optimizer"), False),
    ],
)
def test_foreign_code_is_run_only_as_it_was_when_the_label_was_set(event, runs):
    assert holds(gate_job()["if"], {"repository": "us/optimizer", **event}) is runs


def usual(expression):
    """Return the list that a matrix takes where neither an input nor a variable gives another."""
    (found,) = re.findall(r"\|\| '(\[.*\])'\) }}$", expression)
    return json.loads(found)


def test_the_matrix_is_every_environment_on_every_runner():
    job = gate_job()
    matrix = job["strategy"]["matrix"]
    assert usual(matrix["environment"]) == ["gpu-torch", "gpu-jax", "gpu-tensorflow"]
    assert usual(matrix["runner"]) == [{"name": "self-hosted", "labels": ["self-hosted", "linux", "x64", "gpu"]}]
    assert matrix["runner"].startswith("${{ fromJSON(inputs.runners || vars.OPTCONFORM_RUNNERS ")
    assert job["runs-on"] == "${{ matrix.runner.labels }}"
    assert job["strategy"]["fail-fast"] is False


def test_the_list_of_runners_that_a_comment_shows_can_be_used():
    (shown,) = re.findall(r"^#\s+(\[\{.*\])$", TEXT, re.MULTILINE)
    own, hosted = json.loads(shown)
    assert [own] == usual(gate_job()["strategy"]["matrix"]["runner"])
    assert set(hosted) == set(own)


def test_it_may_only_read_and_comes_to_an_end():
    assert workflow()["permissions"] == {"contents": "read"}
    job = gate_job()
    assert "permissions" not in job
    assert 0 < job["timeout-minutes"] <= 60
    assert job["steps"][0]["with"]["persist-credentials"] is False


def test_another_label_does_not_cancel_the_gate():
    assert "${{ github.event.label.name || 'gpu' }}" in workflow()["concurrency"]["group"]


def test_actions_are_github_s_own_and_pinned_by_major_version():
    used = [step["uses"] for step in gate_job()["steps"] if "uses" in step]
    assert [name.partition("@")[0] for name in used] == [
        "actions/checkout",
        "actions/setup-python",
        "actions/upload-artifact",
    ]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in used), used


def test_what_the_gate_left_is_kept_whatever_it_says():
    upload = gate_job()["steps"][-1]
    assert upload["if"] == "always()"
    assert upload["with"]["path"].split() == [workflow()["env"]["OPTCONFORM_GATE_OUTPUT"], "gpu_ci/baselines"]
    # Two jobs that uploaded under one name would be one too many.
    assert {"${{ matrix.environment }}", "${{ matrix.runner.name }}"} <= {
        *re.findall(r"\$.*?}}", upload["with"]["name"])
    }


def test_no_expression_is_pasted_into_a_script():
    """What an expression stands for can end a quotation; the value of a variable cannot."""
    assert not any("${{" in step["run"] for step in gate_job()["steps"] if "run" in step)


@pytest.mark.parametrize("path", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_no_template_names_a_host(path):
    text = path.read_text(encoding="utf-8")
    assert "://" not in text
    assert "index-url" not in text
    # Of an image, what stands before the first slash is a registry where it holds a dot or a colon.
    images = re.findall(r"^(?:FROM |ARG BASE_IMAGE=| *image: )([^\s$/]+)/", text, re.MULTILINE)
    assert not any(re.search("[.:]", image) for image in images)
