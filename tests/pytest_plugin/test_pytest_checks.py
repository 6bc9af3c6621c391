"""The list of checks that optimizers are tested by in pytest: complete, named beforehand, and judged as an audit is."""

import pickle
from dataclasses import replace

import pytest

import optconform
from optconform.adapters.numpy_optimizers import AdamW
from optconform.conformance.codes import CODES
from optconform.conformance.observations import make_finding
from optconform.conformance.result import Counting, Result, Severity, Verdict
from optconform.conformance.testing.checks import OPTIMIZER_CHECKS, Judged, counting_of, require_known, selected
from optconform.conformance.testing.decay_checks import COULD_NOT_RUN, DECAY_CHECKS, undecided
from optconform.conformance.testing.examination import Examination, examination_of
from optconform.conformance.testing.optimizer import Optimizer, optimizer_of
from optconform.conformance.testing.session import Settings, close, current, opened

SPEC = "optconform.adapters.numpy_optimizers:AdamW"
FIRST_OF_AUDIT = {row.id for row in DECAY_CHECKS}
NOT_FOUND_IN_PROCESS = {"OC501", "OC502", "OC503", "OC903", "OC904", "OC906", "OC907", *COULD_NOT_RUN}
"""Of the gate, of worker processes and of recordings; and those with which every check ends."""


class CoupledSGD:
    """SGD with L2 in the place of decoupled decay."""

    def __init__(self, weight_decay=0.01, momentum=0.9):
        self.weight_decay, self.momentum, self.buffers = weight_decay, momentum, {}

    def step(self, params, grads, lr):
        moved = {}
        for name, theta in params.items():
            if grads[name] is None:
                moved[name] = theta
                continue
            coupled = grads[name] + self.weight_decay * theta
            self.buffers[name] = self.momentum * self.buffers.get(name, 0.0) + coupled
            moved[name] = theta - lr * self.buffers[name]
        return moved


class Refusing:
    def __init__(self, weight_decay=0.01):
        pass

    def step(self, params, grads, lr):
        raise RuntimeError("not today")


class Plain:
    """Without an option of weight decay."""

    def step(self, params, grads, lr):
        return {name: theta if grads[name] is None else theta - lr * grads[name] for name, theta in params.items()}


@pytest.fixture
def small():
    """A session on one small trace."""
    session = opened(Settings(traces=("synthetic:small",)))
    yield session
    close(session)


def check_named(name):
    (check,) = [check for check in OPTIMIZER_CHECKS if check.id == name]
    return check


def ending(optimizer, name):
    """How the item of `optimizer` and the check `name` ends, and with what text."""
    try:
        check_named(name)(optimizer)
    except AssertionError as failed:
        return "failed", str(failed)
    except (pytest.skip.Exception, pytest.xfail.Exception) as ended:
        return type(ended).__name__.lower(), str(ended)
    return "passed", ""


def test_every_code_that_an_audit_finds_belongs_to_a_check():
    found = {code for check in OPTIMIZER_CHECKS for code in check.codes}
    assert found == set(CODES) - NOT_FOUND_IN_PROCESS


def test_ids_are_words_of_their_own():
    ids = [check.id for check in OPTIMIZER_CHECKS]
    assert len(set(ids)) == len(ids)
    assert all(name.isidentifier() for name in ids)


@pytest.mark.parametrize("target", [AdamW, CoupledSGD, Plain])
def test_the_checks_together_are_those_of_the_audit(target):
    expect = "none" if target is Plain else "decoupled,law=lr*wd"
    result = optconform.audit(target, traces=["synthetic:small"], expect=expect)
    examination = Examination(Optimizer(target, expect=expect), Settings(traces=("synthetic:small",)))
    judged = {check.id: check.judge(examination, Counting()) for check in OPTIMIZER_CHECKS}
    made = {
        (each.name, each.outcome, each.message)
        for name, part in judged.items()
        for each in part.checks
        if each.name != name or name not in FIRST_OF_AUDIT or name in {check.name for check in result.checks}
    }
    assert made == {(each.name, each.outcome, each.message) for each in result.checks}
    found = sorted((each.rule, each.message) for part in judged.values() for each in part.findings)
    assert found == sorted((each.rule, each.message) for each in result.findings)
    failed = any(part.outcome in ("failed", "undecided") for part in judged.values())
    assert failed is bool(result.exit_status)
    assert failed is (target is CoupledSGD)


def test_an_audit_is_made_once_for_equal_optimizers():
    settings = Settings(traces=("synthetic:small",))
    first = examination_of(Optimizer(AdamW, weight_decay=0.1), settings)
    assert examination_of(Optimizer(AdamW, weight_decay=0.1, label="again"), settings) is first
    others = [
        Optimizer(AdamW),
        Optimizer(AdamW, weight_decay=0.1, expect="l2"),
        Optimizer(AdamW, weight_decay=0.1, dtype="float32"),
        Optimizer(AdamW, weight_decay=0.1, option_names={"lr": "rate"}),
        Optimizer(CoupledSGD, weight_decay=0.1),
    ]
    assert all(examination_of(other, settings) is not first for other in others)
    unhashable = Optimizer(AdamW, weight_decay=[0.1])
    assert examination_of(unhashable, settings) is not examination_of(Optimizer(AdamW, weight_decay=[0.1]), settings)
    assert examination_of(unhashable, settings) is examination_of(unhashable, settings)


def test_checks_can_be_pickled():
    assert [check.id for check in pickle.loads(pickle.dumps(OPTIMIZER_CHECKS))] == [
        check.id for check in OPTIMIZER_CHECKS
    ]


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("optax:adamw", "optax:adamw"),
        (AdamW, "AdamW"),
        ((AdamW, {"weight_decay": 0.1, "betas": (0.9, 0.99)}), "AdamW,weight_decay=0.1,betas"),
        (Optimizer("optax:adamw", path="compiled", dtype="float32"), "optax:adamw,compiled,float32"),
        ((AdamW, {"label": "ours"}), "ours"),
        (lambda: AdamW(), "<lambda>"),
    ],
)
def test_ids_are_readable_and_the_same_everywhere(entry, name):
    assert optimizer_of(entry).id == name


def test_what_is_no_optimizer_is_refused():
    with pytest.raises(TypeError, match=r"3 is no optimizer to be tested: expected a class"):
        optconform.parametrize_with_checks([3])
    with pytest.raises(ValueError, match="no optimizer, so that nothing would be checked"):
        optconform.parametrize_with_checks([])
    with pytest.raises(ValueError, match=r"2 optimizers have the id 'AdamW'.*label="):
        optconform.parametrize_with_checks([AdamW, AdamW])
    with pytest.raises(ValueError, match=r"verdict 'decopled'"):
        optconform.parametrize_with_checks([(AdamW, {"expect": "decopled"})])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("OC999", "'OC999' is no check and no code; checks are kind, "),
        ("OC501", "'OC501' is found by no check here"),
        ("OC305", "may be found by several checks; name the one that is meant: rounding, paths"),
    ],
)
def test_an_expected_failure_that_names_no_one_check_is_refused(key, message):
    with pytest.raises(ValueError, match=message):
        require_known(Optimizer(AdamW, expected_failures={key: "why"}))


def test_selecting_by_check_and_by_code():
    assert [check.id for check in selected(["OC305", "law"])] == ["law", "rounding", "paths"]
    assert selected([]) == list(OPTIMIZER_CHECKS)
    assert counting_of(["law", "OC305"]).select == ("OC201", "OC202", "OC203", "OC305")
    with pytest.raises(ValueError, match="'OC1' is no check"):
        selected(["OC1"])


def test_a_failure_bears_findings_and_the_command_that_shows_it_again(small):
    outcome, text = ending(Optimizer(CoupledSGD), "kind")
    assert outcome == "failed"
    assert text.startswith("CoupledSGD: kind failed: l2, expected decoupled: ")
    assert "\n  OC101 coupled-decay: weight decay is L2" in text
    assert "\n  rerun: pytest " in text
    assert "--optconform-trace synthetic:small" in text
    assert ("OC101", Severity.ERROR) in small.take()["findings"]
    outcome, text = ending(Optimizer(SPEC, expect="l2"), "kind")
    assert outcome == "failed"
    assert text.endswith(f"rerun: optconform audit {SPEC} --trace synthetic:small --framework numpy --expect l2")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("optimizer", "name", "expected"),
    [
        (Optimizer(AdamW), "kind", ("passed", "")),
        (Optimizer(AdamW), "maximize", ("skipped", "there is no option maximize")),
        (Optimizer(CoupledSGD), "order", ("skipped", "no order was found: the verdict is l2")),
        (Optimizer(Plain, expect="none"), "kind", ("passed", "")),
        (Optimizer(CoupledSGD, expected_failures={"OC101": "kept for v1"}), "kind", ("xfailed", "kept for v1")),
        (Optimizer(CoupledSGD, expected_failures={"kind": "kept for v1"}), "kind", ("xfailed", "kept for v1")),
        (Optimizer(CoupledSGD, expected_failures={"kind": "kept for v1"}), "grouping", ("passed", "")),
    ],
)
def test_how_a_check_ends(optimizer, name, expected):
    assert ending(optimizer, name) == expected


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("key", ["kind", "OC101"])
def test_an_expected_failure_that_passes_is_an_error(key):
    outcome, text = ending(Optimizer(AdamW, expected_failures={key: "was broken"}), "kind")
    assert outcome == "failed"
    assert f"kind passed, but expected to fail with {key} (was broken): remove it from expected_failures" in text


@pytest.mark.usefixtures("small")
def test_a_failure_under_another_code_is_not_excused():
    outcome, text = ending(Optimizer(CoupledSGD, expected_failures={"OC102": "does nothing"}), "kind")
    assert outcome == "failed"
    assert "expected to fail with OC102 (does nothing)" in text
    assert "OC101" in text


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", [check.id for check in OPTIMIZER_CHECKS])
def test_what_cannot_be_run_passes_nothing(name):
    outcome, text = ending(Optimizer(Refusing), name)
    assert outcome == "failed"
    assert "OC902" in text


def test_a_target_that_does_not_exist_is_told_and_raised(small):
    with pytest.raises(ValueError, match="has no attribute 'Nothing'"):
        check_named("kind")(Optimizer("optconform.adapters.numpy_optimizers:Nothing"))
    assert small.take()["outcome"] == "failed"


def test_sessions_lie_inside_one_another():
    outer = opened(Settings(device="outer"))
    inner = opened(Settings(device="inner"))
    assert current() is inner
    close(inner)
    assert current() is outer
    close(outer)


@pytest.mark.parametrize("row", DECAY_CHECKS, ids=lambda row: row.id)
def test_only_the_kind_has_to_be_decided(row):
    blank = Result("t", "numpy", Verdict.INCONCLUSIVE, "decoupled", "cannot be told")
    assert undecided(row, blank) == ("cannot be told" if row.id == "kind" else "")
    assert undecided(row, replace(blank, verdict=Verdict.L2)) == ""
    driven_by_nothing = replace(blank, findings=(make_finding("OC906", "needs a closure"),))
    assert undecided(row, driven_by_nothing) == "cannot be told"
    assert Judged((), (), "cannot be told").outcome == "undecided"
