"""Targets that hang, crash, flood, break out or break down: each yields its finding, and leaves the next alone."""

import pytest

from optconform.adapters.errors import TargetError, UnknownOption
from optconform.conformance import check
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.planned import PlannedAudit
from optconform.conformance.result import Counting
from optconform.conformance.traces import TraceError, find_trace
from optconform.conformance.workers import connection
from optconform.conformance.workers.connection import OUTPUT_BYTES
from optconform.conformance.workers.limits import DEFAULT_TIMEOUT, Limits
from optconform.conformance.workers.pool import run_isolated
from optconform.conformance.workers.processes import can_fork

ADAMW = "optconform.adapters.numpy_optimizers:AdamW"
TRACE = "synthetic:small"

pytestmark = pytest.mark.skipif(not can_fork(), reason="processes that are forked and followed, which takes Linux")

FAILURES = {
    "Exits": ("OC904", "exit status 0, before there was a result"),
    "Segfaults": ("OC904", "killed by SIGSEGV"),
    "Aborts": ("OC904", "killed by SIGABRT"),
    "KillsItsGroup": ("OC904", "killed by SIGKILL"),
    "KillsItsParent": ("OC904", "killed by SIGKILL"),
    "SaysExit": ("OC902", "step() raised SystemExit"),
    "Interrupts": ("OC904", "killed by SIGINT"),
    "RaisesInterrupt": ("OC902", "raised KeyboardInterrupt: mine"),
    "NeedsMemory": ("OC902", "step() raised MemoryError"),
    "BuildsBig": ("OC901", "the constructor raised MemoryError"),
    "StartsThreads": ("OC90", "thread"),
    "ClosesAll": ("OC904", "before there was a result"),
    "WritesEverywhere": ("OC904", "wrote something else where its result belongs: a message of 4294967295 bytes"),
    "ForgesMessages": ("OC904", "wrote something else where its result belongs: a message with ready"),
    "ForgesMistakes": ("OC904", "wrote something else where its result belongs: KeyError: 'X'"),
    "ForgesResults": ("OC904", "wrote something else where its result belongs: KeyError: 'checks'"),
}
"""Hostile class -> the beginning of its code, and what its finding says."""


@pytest.fixture(scope="module")
def failures(run):
    """Each failure, and the innocent target after it."""
    names = [name for failing in FAILURES for name in (failing, "Plain")]
    results = run(*names, limits=Limits(timeout=60.0, memory=4.0))
    return dict(zip(FAILURES, zip(results[::2], results[1::2], strict=True), strict=True))


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_yields_its_finding_and_the_next_target_its_verdict(failures, name):
    failed, following = failures[name]
    code, words = FAILURES[name]
    (finding,) = failed.findings
    assert (str(failed.verdict), int(failed.exit_status)) == ("error", 3)
    assert finding.rule.startswith(code)
    assert words in finding.message
    assert failed.reason == finding.message
    assert finding.rerun
    assert failed.rerun == finding.rerun
    assert (str(following.verdict), int(following.exit_status)) == ("decoupled", 0)


def test_what_hangs_is_ended_wherever_it_hangs(run, folder, pids, alive):
    (folder / "loops.py").write_text("import hostile\nhostile.loop()\n")
    names = [f"{folder / 'loops.py'}:Any", "LoopsInStep", "LoopsInConstructor", "HoldsTheGil", "IgnoresSignals"]
    for result in run(*names, limits=Limits(timeout=2.0), workers=len(names)):
        (finding,) = result.findings
        assert (finding.rule, str(result.verdict)) == ("OC903", "error")
        assert finding.message.startswith("not done after 2 s")
        assert "--timeout 2" in finding.rerun
        assert result.seconds >= 2.0
    assert alive(pids(len(names))) == []


def test_nothing_that_a_target_has_started_is_left(run, pids, alive):
    (result,) = run("LeavesChildren")
    assert str(result.verdict) == "decoupled"
    started = pids(4)
    assert len(started) == len(set(started))
    assert alive(started) == []


@pytest.mark.parametrize(("name", "code"), [("LeavesAndKills", "OC904"), ("LeavesAndStops", "OC903")])
def test_nothing_is_left_where_the_warden_is_killed_or_stopped(run, pids, alive, monkeypatch, name, code):
    monkeypatch.setattr(connection, "_MARGIN", 0.5)
    monkeypatch.setattr(connection, "_PATIENCE", 0.5)
    failed, following = run(name, "Plain", limits=Limits(timeout=4.0))
    assert [finding.rule for finding in failed.findings] == [code]
    assert str(following.verdict) == "decoupled"
    assert alive(pids(3)) == []


def test_the_last_of_what_is_printed_is_kept(run):
    flooded, plain = run("Floods", "Plain")
    assert len(flooded.output) < OUTPUT_BYTES + 100
    assert flooded.output.endswith("xlast\n")
    assert "bytes before this were not kept]" in flooded.output.splitlines()[0]
    assert plain.output == ""


def test_control_characters_are_escaped(run):
    (result,) = run("Strange")
    assert r"raised E\x07rror: \x1b[2J\n\u202e" in result.reason


def test_changed_global_state_is_a_finding(run, folder):
    (folder / "sets.py").write_text("import os\nimport hostile\nos.environ['MINE'] = '1'\nPlain = hostile.Plain\n")
    seeded, imported, plain = run("Seeds", f"{folder / 'sets.py'}:Plain", "Plain")
    for result, words in ((seeded, "random state of Python"), (imported, "MINE")):
        (finding,) = [each for each in result.findings if each.rule == "OC907"]
        assert words in finding.message
        assert str(finding.severity) == "warning"
        assert int(result.exit_status) == 0
    assert "OC907" not in {finding.rule for finding in plain.findings}


def test_two_at_once(run):
    first, second = run("First", "Second", workers=2, limits=Limits(timeout=60.0))
    assert [str(each.verdict) for each in (first, second)] == ["decoupled", "decoupled"]


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("Nobody", {}, TargetError, "has no attribute 'Nobody'"),
        ("nowhere.no:X", {}, TargetError, "no module named nowhere"),
        (ADAMW, {"betta1": 0.5}, UnknownOption, "Did you mean 'beta1'?"),
    ],
)
def test_mistakes_are_raised_as_they_were(run, name, options, error, words):
    with pytest.raises(error) as raised:
        run(name, options=options)
    assert type(raised.value) is error
    assert words in str(raised.value)


def test_a_trace_that_is_not_there_is_a_mistake(run):
    with pytest.raises(TraceError) as raised:
        run(ADAMW, traces=("digits",))
    assert "Did you mean 'digits_" in str(raised.value)
    assert raised.value.tensor is None


def test_mistakes_are_results_where_the_rest_is_to_go_on(run):
    wrong, right = run("Nobody", ADAMW, keep_going=True)
    assert [finding.rule for finding in wrong.findings] == ["OC901"]
    assert "has no attribute 'Nobody'" in wrong.reason
    assert str(right.verdict) == "decoupled"


def test_an_option_must_be_a_literal(run):
    with pytest.raises(TypeError, match="object, which cannot go to a worker process"):
        run(ADAMW, options={"eps": object()})


def test_results_are_what_they_are_in_process():
    planned = PlannedAudit(ADAMW, parse_expectation("decoupled,law=wd"), {"beta1": 0.8})
    (inside,) = check.run([planned], [find_trace(TRACE)], trace_arguments=[TRACE])
    ((_, outside),) = run_isolated([planned], [TRACE])
    assert {**outside.to_json(), "seconds": 0} == {**inside.to_json(), "seconds": 0}
    ((_, ignored),) = run_isolated([planned], [TRACE], counting=Counting(ignore=("OC201",)))
    assert (int(outside.exit_status), int(ignored.exit_status)) == (1, 0)


def test_rerun_commands_set_the_same_limits(run):
    (result,) = run(ADAMW, expect="l2", limits=Limits(timeout=45.0, memory=2.0))
    assert result.rerun.endswith("--expect l2 --timeout 45 --memory 2")
    assert {finding.rerun for finding in result.findings} == {result.rerun}
    (result,) = run(ADAMW, limits=Limits(DEFAULT_TIMEOUT))
    assert "--timeout" not in result.rerun


def test_steps_are_told_now_and_then(run):
    steps = []
    run(ADAMW, on_step=steps.append)
    assert steps
    assert all(isinstance(step, int) for step in steps)
