"""The pytest plugin: items, options, summary, and what it costs a session that has no optimizers."""

import json
import re
import shlex
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from optconform.conformance.testing import parametrize, plugin  # noqa: F401 - a session inside forgets what it imports
from optconform.conformance.testing.decay_checks import DECAY_CHECKS

pytest_plugins = ["pytester"]

CHECKOUT = Path(__file__).parents[2]
INSTALLED = bool(metadata.entry_points(group="pytest11", name="optconform"))
LOADED = ("-p", "no:hypothesispytest", *(() if INSTALLED else ("-p", plugin.__name__)))
"""Hypothesis is imported at the end of every session otherwise, for seconds, and nothing here uses it."""
SMALL = ("--optconform-trace", "synthetic:small")

SGD = """
class {name}:
    def __init__(self, weight_decay=0.01):
        self.weight_decay = weight_decay

    def step(self, params, grads, lr):
        return {{name: self.moved(theta, grads[name], lr) for name, theta in params.items()}}

    def moved(self, theta, grad, lr):
        return theta if grad is None else {rule}
"""
DECOUPLED = SGD.format(name="Decoupled", rule="theta - lr * grad - lr * self.weight_decay * theta")
CONSTANT = SGD.format(name="Constant", rule="theta - lr * grad - lr * self.weight_decay")
UNDECAYED = SGD.format(name="Undecayed", rule="theta - lr * grad")
TEST = """
import optconform
{classes}

@optconform.parametrize_with_checks([{entries}])
def test_optimizer(optimizer, check):
    check(optimizer)
"""


@pytest.fixture
def run(pytester):
    """Run pytest on a file with the `entries`, in this process unless `apart`; return its result."""

    def run_on(entries, *arguments, apart=False):
        pytester.makepyfile(test_it=TEST.format(classes=DECOUPLED + CONSTANT + UNDECAYED, entries=entries))
        run_pytest = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        return run_pytest(*LOADED, *SMALL, *arguments)

    return run_on


def test_the_entry_point_is_the_plugin():
    declared = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    assert declared["project"]["entry-points"]["pytest11"] == {"optconform": plugin.__name__}


def test_items_and_summary(run):
    result = run("Decoupled, Undecayed", "-v", "-rs", "--strict-config", "--strict-markers", "-W", "error", apart=True)
    result.assert_outcomes(passed=23, skipped=18, failed=1)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_optimizer[[]Decoupled-kind[]] PASSED*",
            "test_it.py::test_optimizer[[]Decoupled-missing_gradients[]] PASSED*",
            "*AssertionError: Undecayed: kind failed: ignored, expected decoupled: *",
            "*OC102 ignored-decay: *",
            "*= optconform =*",
            "42 checks of 2 optimizers: 23 passed, 1 failed, 0 failed as expected, 18 skipped, 0 undecided",
            "  OC102 ignored-decay (error): Undecayed",
            "  rerun: pytest 'test_it.py::test_optimizer[[]Undecayed-kind[]]' --optconform-trace synthetic:small",
            "SKIPPED*there is no option maximize",
        ]
    )


def test_selection_by_code_keyword_and_last_failure(run, pytester):
    result = run("Decoupled, Constant", "--optconform-select", "OC105,grouping", "-v")
    result.assert_outcomes(passed=3, failed=1, deselected=38)
    result.stdout.fnmatch_lines(["*Constant: kind failed*", "*OC105 wrong-decay-target*"])
    again = pytester.runpytest_inprocess(*LOADED, *SMALL, "--lf")
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["1 check of 1 optimizer: 0 passed, 1 failed, *"])
    result = pytester.runpytest_inprocess(*LOADED, *SMALL, "-k", "Decoupled and (kind or lr_change)")
    result.assert_outcomes(passed=2, deselected=40)


def test_codes_that_are_not_selected_do_not_count(run):
    result = run("Undecayed", "--optconform-select=OC101", "-rs")
    result.assert_outcomes(skipped=1, deselected=20)
    result.stdout.fnmatch_lines(["*OC102 ignored*"])


def test_a_selection_that_names_nothing_is_a_usage_error(run):
    result = run("Decoupled", "--optconform-select", "OC10")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--optconform-select: 'OC10' is no check, nor the code of a rule*"])


def test_a_device_that_is_not_there_fails(run):
    result = run("Decoupled", "--optconform-device", "cuda:7", "-k", "kind")
    result.assert_outcomes(failed=1, deselected=20)
    result.stdout.fnmatch_lines(["*OC901*cuda:7*", "*rerun: pytest *kind* --optconform-device cuda:7"])


def test_a_target_or_framework_that_is_not_there_fails_with_what_to_do(run):
    entries = '"nowhere_at_all:AdamW", optconform.Optimizer("optax:adamw", framework="keras-on-nothing")'
    result = run(entries, "-k", "kind", "--tb=short")
    result.assert_outcomes(failed=2, deselected=40)
    result.stdout.fnmatch_lines(["E *TargetError: nowhere_at_all:AdamW: there is no module*"])
    result.stdout.no_fnmatch_line("*in load_target*")
    result.stdout.fnmatch_lines(["2 checks of 2 optimizers: 0 passed, 2 failed, *"])


def test_expected_failures(run):
    entries = """
        optconform.Optimizer(Constant, expected_failures={"OC105": "as in v1"}),
        (Decoupled, {"expected_failures": {"grouping": "no longer"}}),
    """
    result = run(entries, "-k", "kind or grouping", "-rx")
    result.assert_outcomes(passed=2, xfailed=1, failed=1, deselected=38)
    result.stdout.fnmatch_lines(
        [
            "*Decoupled: grouping passed, but expected to fail with grouping (no longer)*",
            "4 checks of 2 optimizers: 2 passed, 1 failed, 1 failed as expected, *",
            "XFAIL*Constant-kind*as in v1*",
        ]
    )


def test_an_expected_failure_of_no_check_stops_the_collection(run):
    result = run('(Decoupled, {"expected_failures": {"groping": "typo"}})')
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*expected_failures of Decoupled: 'groping' is no check and no code*"])


def test_distributed_over_processes(run, pytester):
    pytest.importorskip("xdist")
    result = run(
        "Decoupled, Undecayed", "-n", "2", "-k", "kind or grouping or maximize", "--junit-xml", "junit.xml", apart=True
    )
    result.assert_outcomes(passed=3, skipped=2, failed=1)
    result.stdout.fnmatch_lines(["6 checks of 2 optimizers: 3 passed, 1 failed, *", "  OC102 ignored-decay*Undecayed"])
    assert "OC102" in (pytester.path / "junit.xml").read_text(encoding="utf-8")


def test_without_the_plugin_the_checks_are_the_same(pytester):
    pytester.makepyfile(test_it=TEST.format(classes=UNDECAYED, entries='(Undecayed, {"traces": ["synthetic:small"]})'))
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:optconform", "-k", "kind")
    result.assert_outcomes(failed=1, deselected=20)
    result.stdout.fnmatch_lines(["*OC102 ignored-decay*"])
    result.stdout.no_fnmatch_line("*= optconform =*")


def test_a_session_without_optimizers_pays_nothing(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others may import what they like
    pytester.makepyfile(
        """
        import json, pathlib, sys

        def test_nothing():
            pathlib.Path("modules.json").write_text(json.dumps(sorted(sys.modules)))
        """
    )
    result = pytester.runpytest_subprocess("-p", plugin.__name__, "-W", "error")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*= optconform =*")
    loaded = set(json.loads((pytester.path / "modules.json").read_text(encoding="utf-8")))
    assert plugin.__name__ in loaded
    assert not loaded & {"numpy", "rich", "click", "ml_dtypes", "safetensors", "torch", "tensorflow", "jax", "keras"}
    of_the_package = {name for name in loaded if name.startswith("optconform.")}
    assert of_the_package == {
        "optconform.conformance",
        "optconform.conformance.testing",
        "optconform.conformance.testing.plugin",
        "optconform.conformance.testing.session",
    }


def documented(language):
    """The blocks of docs/pytest.md in `language`."""
    page = (CHECKOUT / "docs" / "pytest.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def documented_commands():
    lines = "".join(documented("sh")).splitlines()
    return [line.partition("  #")[0].strip() for line in lines]


@pytest.mark.parametrize("command", documented_commands())
def test_documented_commands(pytester, command):
    (pytester.path / "examples").symlink_to(CHECKOUT / "examples")
    pytester.makepyfile(test_optimizers="\n\n".join(documented("python")))
    program, *arguments = shlex.split(command)
    assert program == "pytest"
    distributed = "-n" in arguments
    if distributed:
        pytest.importorskip("xdist")
    trace = () if "--optconform-trace" in arguments else SMALL  # the default ones take seconds
    run_pytest = pytester.runpytest_subprocess if distributed else pytester.runpytest_inprocess
    result = run_pytest(*LOADED, *arguments, *trace)
    assert result.ret == pytest.ExitCode.OK
    assert result.parseoutcomes()["passed"] > 0


def test_the_documented_table_holds_every_check():
    page = (CHECKOUT / "docs" / "pytest.md").read_text(encoding="utf-8")
    assert [row.id for row in DECAY_CHECKS if f"`{row.id}`" not in page] == []
