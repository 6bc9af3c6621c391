"""`optconform check` with a configuration, in process: what runs, what counts, what is accepted, how it ends."""

import json
import pathlib
import shlex
from importlib import resources

import jsonschema
import pytest
from referencing import Registry, Resource

from optconform.conformance.cli import check as command
from optconform.conformance.configuration.plan import Instead, Present, plan_builtin, plan_targets
from optconform.conformance.configuration.values import Configuration, ConfiguredTarget

AUDIT, CHECK = (
    json.loads(resources.files("optconform.conformance").joinpath(f"schema/{name}-1.schema.json").read_text("utf-8"))
    for name in ("audit", "check")
)
REGISTRY = Registry().with_resource(AUDIT["$id"], Resource.from_contents(AUDIT))
OPTIMIZER = """
class Mine:
    def __init__(self, weight_decay=0.0, momentum=0.9):
        self.weight_decay, self.momentum, self.buffers = weight_decay, momentum, {}

    def step(self, params, grads, lr):
        return {name: self.one(name, p, grads[name], lr) for name, p in params.items()}

    def one(self, name, p, g, lr):
        if g is None:
            return p
        buffer = self.buffers[name] = self.momentum * self.buffers.get(name, 0.0) + g
        return p - lr * buffer - lr * self.weight_decay * p


class L2(Mine):
    def one(self, name, p, g, lr):
        if g is None:
            return p
        buffer = self.buffers[name] = self.momentum * self.buffers.get(name, 0.0) + g + self.weight_decay * p
        return p - lr * buffer
"""
MINE, L2 = (f'[[tool.optconform.targets]]\ntarget = "src/optim.py:{name}"\n' for name in ("Mine", "L2"))


def accepted(code, target):
    return f'[[tool.optconform.accept]]\ncode = "{code}"\ntarget = "{target}"\nreason = "by design"\n'


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a function that writes the configuration of a project in the current folder."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "optim.py").write_text(OPTIMIZER)
    monkeypatch.chdir(tmp_path)

    def write(text, keys='traces = ["synthetic:mixed"]'):
        (tmp_path / "pyproject.toml").write_text(f"[tool.optconform]\n{keys}\n{text}")
        return tmp_path

    return write


@pytest.fixture
def document(run):
    """Return a function that runs `check` and returns its exit status, JSON document and standard error."""

    def check(*options):
        status, out, err = run("check", "--format", "json", *options)
        found = json.loads(out)
        jsonschema.Draft202012Validator(CHECK, registry=REGISTRY).validate(found)
        assert set(found) == set(CHECK["properties"])
        assert status == found["exit_status"]
        return status, found, err

    return check


def verdicts(document):
    return [(each["title"], each["verdict"]) for each in document["results"]]


class TestTargets:
    def test_every_target_in_each_precision_is_one_audit(self, project, document):
        project(
            MINE + "set = { weight_decay = 0.1 }\n" + L2 + 'expect = "l2"\ndtypes = ["float64"]\n',
            """
            traces = ["synthetic:mixed"]
            dtypes = ["float32", "float64"]
            """,
        )
        status, found, err = document()
        assert (status, err) == (0, "configuration: pyproject.toml\n")
        assert verdicts(found) == [
            ("src/optim.py:Mine weight_decay=0.1 [float32]", "decoupled"),
            ("src/optim.py:Mine weight_decay=0.1", "decoupled"),
            ("src/optim.py:L2", "l2"),
        ]
        assert {trace["name"] for each in found["results"] for trace in each["traces"]} == {"synthetic:mixed:0"}

    def test_targets_may_have_traces_of_their_own(self, project, document):
        project(MINE + 'traces = ["synthetic:small"]\n' + L2 + 'expect = "l2"\n')
        _, found, _ = document()
        assert [each["traces"][0]["name"] for each in found["results"]] == ["synthetic:small:0", "synthetic:mixed:0"]
        _, found, _ = document("--trace", "synthetic:mixed:1")
        assert [each["traces"][0]["name"] for each in found["results"]] == ["synthetic:mixed:1"] * 2

    def test_from_a_folder_below_the_same_targets_run_and_can_be_run_again(self, project, document, run, monkeypatch):
        folder = project(L2)
        (folder / "src" / "deep").mkdir()
        monkeypatch.chdir(folder / "src" / "deep")
        status, found, err = document()
        (result,) = found["results"]
        assert status == 1
        assert err == f"configuration: {pathlib.Path('../../pyproject.toml')}\n"
        assert result["title"] == "src/optim.py:L2"
        assert result["target"] == str(pathlib.Path("../optim.py:L2"))
        assert run(*shlex.split(result["rerun"])[1:])[0] == 1

    def test_a_file_whose_name_starts_with_a_dash_can_be_run_again(self, project, document, run):
        folder = project('[[tool.optconform.targets]]\ntarget = "-optim.py:L2"\n')
        (folder / "-optim.py").write_text(OPTIMIZER)
        assert run(*shlex.split(document()[1]["results"][0]["rerun"])[1:])[0] == 1

    def test_targets_of_the_command_line_leave_the_configuration_aside(self, project, run):
        project(L2, 'ignore = ["OC101"]')
        status, _, err = run("check", "src/optim.py:L2", "--trace", "synthetic:mixed")
        assert (status, err) == (1, "")

    def test_another_file_or_none(self, project, document, run):
        folder = project(L2)
        (folder / "other.toml").write_text(f'[tool.optconform]\ntraces = ["synthetic:mixed"]\n{MINE}')
        status, found, err = document("--config", "other.toml")
        assert (status, err, len(found["results"])) == (0, "configuration: other.toml\n", 1)
        status, found, err = document("--no-config", "--framework", "numpy", "--trace", "synthetic:mixed")
        assert (status, err) == (0, "")
        assert {each["framework"] for each in found["results"]} == {"numpy"}
        assert run("check", "--config", "none.toml")[0] == 2
        assert run("check", "--config", "other.toml", "--no-config")[0] == 2
        status, _, err = run("check", "src/optim.py:L2", "--config", "other.toml")
        assert status == 2
        assert "--config does not go with TARGET" in err

    @pytest.mark.parametrize(
        "option",
        [("--expect", "l2"), ("--set", "lr=1"), ("--map", "lr=x"), ("--paths", "loop"), ("--framework", "jax")],
    )
    def test_what_each_target_has_of_its_own_is_not_said_for_all(self, project, run, option):
        project(MINE)
        status, out, err = run("check", *option)
        assert (status, out) == (2, "")
        assert f"{option[0]} needs a TARGET: those of the configuration have their own" in err

    def test_the_command_line_wins(self, project, document):
        project(L2, 'traces = ["synthetic:mixed"]\ndtypes = ["float32"]\nignore = ["OC101"]')
        assert document()[0] == 0, "OC101 is ignored"
        _, found, _ = document("--dtype", "float64", "--select", "OC305")
        assert [each["dtype"] for each in found["results"]] == ["float64"]
        assert found["results"][0]["findings"] == []
        _, found, _ = document("--ignore", "OC302")
        assert not {"OC101", "OC302"} & {each["rule"] for each in found["results"][0]["findings"]}


class TestBuiltIn:
    def test_a_table_without_targets_is_about_the_built_in_optimizers(self, project, document):
        project("", 'traces = ["synthetic:small"]\ndtypes = ["float64", "float32"]\nselect = ["OC101"]')
        status, found, _ = document("--framework", "numpy")
        assert status == 0
        assert [each["dtype"] for each in found["results"]] == ["float64"] * 2 + ["float32"] * 2

    def test_each_precision_on_each_device(self):
        configuration = Configuration(dtypes=("float64", "float32"), devices=("cpu", "cuda"))
        present = Present(["numpy", "torch"], {"numpy": ["cpu"], "torch": ["cpu", "gpu:0"]}.__getitem__)
        plan = plan_builtin(configuration, Instead(), present)
        places = {(audit.planned.framework, audit.planned.device, audit.planned.dtype) for audit in plan.audits}
        assert places == {
            (framework, device, dtype)
            for framework, device in (("numpy", "cpu"), ("torch", "cpu"), ("torch", "cuda"))
            for dtype in ("float64", "float32")
        }
        assert plan.skipped_frameworks == ("tensorflow", "jax")
        assert [each.sentence for each in plan.left_out if each.framework is None] == [
            "the built-in optimizers: numpy has no device cuda here"
        ]
        assert plan.audits[-1].title.endswith("[float32] on cuda")


class TestLeftOut:
    CONFIGURATION = Configuration(
        targets=(
            ConfiguredTarget("torch.optim:AdamW", devices=("cpu", "gpu:1")),
            ConfiguredTarget("my_package.optim:Unknown", devices=("gpu:1",)),
            ConfiguredTarget("my_package.optim:Mine", framework="jax"),
        )
    )

    def test_what_is_not_there_is_left_out_by_name(self):
        present = Present(["numpy", "torch"], {"torch": ["cpu", "gpu:0"]}.__getitem__)
        plan = plan_targets(self.CONFIGURATION, Instead(), present)
        assert [(audit.target, audit.planned.device) for audit in plan.audits] == [
            ("torch.optim:AdamW", "cpu"),
            ("my_package.optim:Unknown", "gpu:1"),  # whose framework only the audit finds out
        ]
        assert [each.sentence for each in plan.left_out] == [
            "torch.optim:AdamW: torch has no device gpu:1 here",
            "my_package.optim:Mine: jax is not installed (pip install 'optconform[jax]')",
        ]
        assert plan.skipped_frameworks == ("jax",)

    def test_a_device_of_the_command_line_is_not_asked_for(self):
        def ask(framework):
            raise AssertionError(framework)

        plan = plan_targets(self.CONFIGURATION, Instead(device="cuda"), Present(["torch", "jax"], ask))
        assert [audit.planned.device for audit in plan.audits] == ["cuda"] * 3

    def test_no_check_at_all_is_no_pass(self, project, document, monkeypatch):
        monkeypatch.setattr("optconform.adapters.frameworks.is_findable", lambda name: name == "numpy")
        project(MINE + 'framework = "torch"\n' + accepted("OC101", "src/*"))
        status, found, err = document()
        assert status == 4
        assert "not checked: src/optim.py:Mine: torch is not installed (pip install 'optconform[torch]')" in err
        assert found["skipped_frameworks"] == ["torch"]
        assert found["left_out"][0].startswith("src/optim.py:Mine: torch is not installed")
        assert "accept[0] (OC101, src/*) was not looked for: src/optim.py:Mine: torch is not" in found["left_out"][1]
        assert found["unmatched"] == []

    def test_what_is_required_must_be_there(self, project, run, monkeypatch):
        asked = []
        monkeypatch.setattr(command, "_require", lambda names, python: asked.append(names))
        project(MINE, 'traces = ["synthetic:small"]\nrequire = ["numpy"]')
        assert run("check", "--require", "cpu")[0] == 0
        assert asked == [("numpy", "cpu")]


class TestAccepted:
    def test_a_finding_that_is_accepted_stays_and_does_not_count(self, project, document, run):
        project(L2 + accepted("OC101", "src/optim.py:L2"))
        status, found, _ = document()
        finding = next(each for each in found["results"][0]["findings"] if each["rule"] == "OC101")
        assert (finding["severity"], finding["accepted"]) == ("error", "by design")
        checks = {each["name"]: each for each in found["results"][0]["checks"]["details"]}
        assert not any(each["outcome"] == "failed" and each["code"] == "OC101" for each in checks.values())
        assert any("(OC101 accepted: by design)" in each["message"] for each in checks.values())
        assert found["unmatched"] == []
        assert status == 0
        pathlib.Path("result.json").write_text(json.dumps(found))
        for output_format in ("text", "junit", "markdown", "annotations"):
            assert "by design" in run("report", "result.json", "--format", output_format)[1]
        assert "::warning" not in run("report", "result.json", "--format", "annotations")[1], "nothing to warn of"

    def test_every_report_says_what_did_not_count(self, project, run):
        project(L2, 'traces = ["synthetic:mixed"]\nignore = ["OC101"]\nselect = ["OC101", "OC301"]')
        assert run("check", "--format", "json", "--output", "result.json")[0] == 0
        for output_format in ("junit", "markdown", "annotations"):
            out = run("report", "result.json", "--format", output_format)[1]
            assert "not counted: OC101 (ignore)" in out
            assert "no code counts but OC101, OC301 (select)" in out

    def test_it_hides_nothing_else(self, project, document):
        project(MINE + 'expect = "decoupled,law=wd"\n' + accepted("OC202", "*"))
        status, found, _ = document()
        assert status == 1
        assert {each["rule"] for each in found["results"][0]["findings"] if not each["accepted"]} >= {"OC201"}

    def test_what_only_informs_is_not_accepted_for_the_error_that_may_come(self, project, document):
        project(MINE + accepted("OC201", "*"))
        status, found, _ = document()
        assert status == 1
        (entry,) = found["unmatched"]
        assert entry.endswith(
            "accept[0] (OC201, *) matches what only informs, and would hide the first error: remove it"
        )
        assert not any(each["accepted"] for each in found["results"][0]["findings"])

    def test_an_entry_that_matches_nothing_is_an_error(self, project, document, run, monkeypatch):
        monkeypatch.setenv("COLUMNS", "400")
        project(MINE + accepted("OC204", "src/optim.py:Mine") + accepted("OC204", "src/optim.py:Min"))
        status, found, _ = document()
        assert status == 1
        entries = "pyproject.toml: tool.optconform.accept"
        first, second = found["unmatched"]
        assert first == f"{entries}[0] (OC204, src/optim.py:Mine) matches no finding: remove it"
        assert second.startswith(f"{entries}[1] (OC204, src/optim.py:Min) is about no target of this run: correct or ")
        assert second.endswith('; did you mean "src/optim.py:Mine"?')
        pathlib.Path("result.json").write_text(json.dumps(found))
        for output_format in ("text", "markdown", "junit", "annotations"):
            out = run("report", "result.json", "--format", output_format)[1]
            assert f"{entries}[0] (OC204, src/optim.py:Mine) matches no finding" in out.replace("\\", "")
        assert (
            '<failure message="2 of the accepted findings were not found"'
            in run("report", "result.json", "--format", "junit")[1]
        )

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            (("--ignore", "OC204"), "OC204 does not count"),
            (("--select", "OC101"), "OC204 does not count"),
            (("--dtype", "float32"), "the command line has --dtype"),
            (("--trace", "synthetic:small", "--mode", "free-run"), "the command line has --trace, --mode"),
        ],
    )
    def test_an_entry_that_this_run_could_not_match_is_none(self, project, document, options, why):
        project(MINE + accepted("OC204", "src/optim.py:Mine"))
        status, found, _ = document(*options)
        assert status == 0
        assert found["unmatched"] == []
        assert found["left_out"] == [
            f"pyproject.toml: tool.optconform.accept[0] (OC204, src/optim.py:Mine) was not looked for: {why}"
        ]

    def test_an_entry_about_another_framework_is_kept_where_one_is_asked_for(self, project, document):
        project(accepted("OC305", "keras.optimizers:*"), 'traces = ["synthetic:small"]\nselect = ["OC101", "OC305"]')
        status, found, _ = document("--framework", "numpy")
        assert status == 0
        assert found["left_out"][0].endswith("was not looked for: the command line has --framework")

    def test_a_target_that_could_not_run_decides_over_its_entries(self, project, document):
        folder = project(MINE + accepted("OC204", "src/optim.py:Mine"))
        (folder / "src" / "optim.py").write_text(OPTIMIZER.replace("return {", "raise ValueError; return {"))
        status, found, _ = document()
        assert status == 3
        assert found["unmatched"] == []
        assert found["left_out"][0].endswith("was not looked for: a target could not run")


def test_help_says_how_to_read_another_file(run):
    out = " ".join(run("check", "--help")[1].split())
    assert "--config FILE Read [tool.optconform] there" in out
    assert "--no-config Read no configuration." in out
