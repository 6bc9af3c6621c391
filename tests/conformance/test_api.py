"""The Python API: audit and check_optimizer on objects at hand and on names."""

import itertools
import shlex

import pytest

import optconform
from optconform.adapters.errors import MissingFramework, TargetError, UnknownOption
from optconform.conformance.api import check_optimizer, open_traces
from optconform.conformance.expectation import InvalidExpectation
from optconform.conformance.traces import TraceError, default_names

ADAMW = "optconform.adapters.numpy_optimizers:AdamW"
MIXED = ("synthetic:mixed",)


def test_the_public_names_are_these_functions():
    assert optconform.check_optimizer is check_optimizer
    assert optconform.audit(ADAMW, traces=MIXED, weight_decay=0.1).verdict == "decoupled"


def test_a_sound_optimizer_passes_silently():
    assert check_optimizer(ADAMW, expect="decoupled,law=lr*wd,epsilon=outside", traces=MIXED) is None


def test_a_wrong_one_raises_with_findings_and_the_command_that_shows_it(zoo):
    with pytest.raises(AssertionError) as caught:
        check_optimizer(zoo.MomentumL2, traces=MIXED, weight_decay=0.1)
    message = str(caught.value)
    assert message.startswith("tests.conformance.conftest:MomentumL2: l2, expected decoupled: ")
    assert "OC101 coupled-decay: weight decay is L2" in message
    assert "kind[synthetic:mixed:0]: l2 over 3 parameters" in message
    words = shlex.split(message.rpartition("rerun: ")[2])
    assert words[:3] == ["optconform", "audit", "tests.conformance.conftest:MomentumL2"]
    pairs = list(itertools.pairwise(words))
    assert ("--set", "weight_decay=0.1") in pairs
    assert ("--trace", "synthetic:mixed") in pairs


def test_what_cannot_be_decided_is_no_pass(make_trace):
    with pytest.raises(AssertionError, match="inconclusive, expected any"):
        check_optimizer(ADAMW, expect="any", traces=[make_trace(n_steps=0)])


def test_local_classes_and_lambdas_work(zoo, small_trace):
    class Local(zoo.Plain):
        pass

    check_optimizer(Local, traces=[small_trace])
    check_optimizer(lambda weight_decay=0.0: Local(weight_decay), traces=[small_trace])
    with pytest.raises(AssertionError) as caught:
        check_optimizer(Local, expect="l2", traces=MIXED)
    assert "rerun" not in str(caught.value)  # no command line reaches a local class


@pytest.mark.parametrize("value", [float("inf"), object])
def test_no_command_is_offered_that_could_not_be_typed(value):
    result = optconform.audit(lambda weight_decay=0.0, extra=None: None, framework="numpy", extra=value, traces=MIXED)
    assert result.rerun == ""


def test_no_command_is_offered_for_traces_without_name(zoo, small_trace):
    assert optconform.audit(zoo.Plain, traces=[small_trace]).rerun == ""
    assert optconform.audit(zoo.Plain, traces=MIXED).rerun != ""


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"target": ADAMW, "nope": 1}, UnknownOption, "no option 'nope'"),
        ({"target": ADAMW, "weight_deca": 1}, UnknownOption, "Did you mean 'weight_decay'?"),
        ({"target": ADAMW, "option_names": {"lr": "nope"}}, UnknownOption, "no option 'lr'"),
        ({"target": ADAMW, "expect": "decoupld"}, InvalidExpectation, "did you mean 'decoupled'?"),
        ({"target": ADAMW, "framework": "theano"}, TargetError, "unknown framework 'theano'"),
        ({"target": ADAMW + "X"}, TargetError, "Did you mean AdamW"),
        ({"target": 3}, TargetError, "cannot be called"),
        ({"target": ADAMW, "traces": ["nowhere"]}, TraceError, "nowhere"),
        ({"target": ADAMW, "path": "fast"}, UnknownOption, "no path 'fast'"),
    ],
)
def test_mistakes_are_named(arguments, error, named):
    with pytest.raises(error) as caught:
        optconform.audit(**{"traces": MIXED, **arguments})
    assert named in str(caught.value)


def test_a_framework_that_is_not_installed_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr("optconform.adapters.frameworks.is_findable", lambda name: name != "torch")
    with pytest.raises(MissingFramework, match=r"pip install 'optconform\[torch\]'"):
        optconform.audit(ADAMW, framework="torch", traces=MIXED)


def test_without_names_the_default_traces_are_opened():
    assert tuple(trace.name for trace in open_traces()) == default_names()
    assert len(set(default_names())) == 3
