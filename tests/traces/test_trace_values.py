"""Traces in memory: what they hand out, and what they refuse to be made of."""

import pickle

import ml_dtypes
import numpy as np
import pytest

from optconform.conformance.traces import Parameter, TraceError

W = Parameter("w", (2, 3), "float32")
S = Parameter("s", (), "float64")


def test_size_counts_coordinates():
    assert [Parameter("p", shape, "float32").size for shape in [(), (3,), (2, 3), (2, 0)]] == [1, 3, 6, 0]


def test_steps_count_from_one_and_stop_where_asked(tools):
    trace = tools.tiny_trace()
    assert [(step.index, step.multiplier) for step in trace.steps()] == [(1, 1.0), (2, 0.5)]
    assert [step.index for step in trace.steps(1)] == [1]
    assert [step.index for step in trace.steps(7)] == [1, 2]
    assert list(trace.steps(0)) == []
    with pytest.raises(ValueError, match="stop=-1"):
        list(trace.steps(-1))


def test_missing_gradient_is_none(tools):
    first, second = tools.tiny_trace().steps()
    assert first.gradients["s"] == -1.0
    assert second.gradients["s"] is None


def test_changing_what_was_handed_out_changes_no_trace(tools):
    trace = tools.tiny_trace()
    digest = trace.sha256
    trace.initial_parameters()["w"][:] = 99
    for step in trace.steps():
        step.gradients["w"][:] = 99
    trace.block("w", 1, 0, 6)[:] = 99
    assert tools.same(trace, tools.tiny_trace())
    assert tools.tiny_trace().sha256 == digest


def test_block_is_a_flat_piece_of_one_gradient(tools):
    trace = tools.tiny_trace()
    np.testing.assert_array_equal(trace.block("w", 2, 1, 4), np.array([11, 12, 13], np.float32))
    assert trace.block("s", 2, 0, 1) is None
    assert trace.block("w", 1, 2, 2).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("nope", 1, 0, 1), KeyError),
        (("w", 0, 0, 1), IndexError),
        (("w", 3, 0, 1), IndexError),
        (("w", 1, 0, 7), IndexError),
        (("w", 1, -1, 2), IndexError),
        (("w", 1, 3, 2), IndexError),
    ],
)
def test_block_outside_the_trace(tools, tmp_path, arguments, error):
    from optconform.conformance.traces import write_trace

    for trace in (tools.tiny_trace(), write_trace(tools.tiny_trace(), tmp_path / "t")):
        with pytest.raises(error):
            trace.block(*arguments)


@pytest.mark.parametrize(
    ("changes", "tensor", "words"),
    [
        ({"parameters": ()}, None, "no parameters"),
        ({"parameters": (W, W)}, "w", "the name twice"),
        ({"parameters": (Parameter("", (), "float64"), S)}, "", "parameter name ''"),
        ({"parameters": (Parameter("__metadata__", (), "float64"), S)}, "__metadata__", "reserves"),
        ({"parameters": (Parameter("\ud800", (), "float64"), S)}, "\ud800", "UTF-8"),
        ({"parameters": (Parameter("w", (2, -3), "float32"), S)}, "w", r"shape \(2, -3\)"),
        ({"parameters": (Parameter("w", (1,) * 33, "float32"), S)}, "w", "at most 32"),
        ({"parameters": (Parameter("w", (2, 3), "int32"), S)}, "w", "dtype 'int32'"),
        ({"multipliers": (1.0,)}, None, "gradients of 2 steps and 1 multipliers"),
        ({"multipliers": (1.0, float("nan"))}, None, "multiplier nan at step 2"),
        ({"multipliers": (1.0, float("inf"))}, None, "multiplier inf at step 2"),
        ({"multipliers": (-0.5, 1.0)}, None, "multiplier -0.5 at step 1"),
        ({"initial": {"w": np.zeros((2, 3), np.float32)}}, "s", "no entry in theta_0"),
        ({"initial": {"w": np.zeros((3, 2), np.float32), "s": np.array(1.0)}}, "w", r"\(3, 2\) as theta_0"),
        ({"initial": {"w": np.zeros((2, 3)), "s": np.array(1.0)}}, "w", "float64 .* expected float32"),
        (
            {"initial": {"w": np.zeros((2, 3), np.float32), "s": np.array(np.inf)}},
            "s",
            "inf in theta_0 at flat index",
        ),
    ],
)
def test_refused(tools, changes, tensor, words):
    with pytest.raises(TraceError, match=words) as refusal:
        tools.tiny_trace(**changes)
    assert refusal.value.tensor == tensor
    assert "tiny" in refusal.value.file


def test_a_nan_is_named_with_step_and_index(tools):
    gradient = np.ones((2, 3), np.float32)
    gradient[1, 1] = np.nan
    good = {"w": np.ones((2, 3), np.float32), "s": None}
    with pytest.raises(TraceError, match="tensor 'w': found nan in step 2 at flat index 4; expected finite values"):
        tools.tiny_trace(gradients=(good, {**good, "w": gradient}))
    with pytest.raises(TraceError, match="tensor 'x': found an entry of an unknown parameter in step 1"):
        tools.tiny_trace(gradients=({**good, "x": None}, good))


def test_bfloat16_infinity_is_seen():
    from optconform.conformance.traces import MemoryTrace

    value = np.array([1, np.inf], ml_dtypes.bfloat16)
    with pytest.raises(TraceError, match="inf in theta_0 at flat index 1"):
        MemoryTrace("t", (Parameter("p", (2,), "bfloat16"),), (), {"p": value}, ())


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"multipliers": (1.0, 0.25)},
        {"provenance": {}},
        {"initial": {"w": np.zeros((2, 3), np.float32), "s": np.array(2.0)}},
        {"gradients": ({"w": np.ones((2, 3), np.float32), "s": None}, {"w": np.ones((2, 3), np.float32), "s": None})},
    ],
)
def test_digest_covers_everything(tools, changes):
    assert tools.tiny_trace(**changes).sha256 != tools.tiny_trace().sha256


def test_messages_are_one_printable_line():
    error = TraceError("dir\n/\x1b[31mx.safetensors", "a", "b", "Do c.", "w\r\n\u202e" + "x" * 10_000)
    assert str(error).isprintable()
    assert len(str(error)) < 500
    assert r"\x1b[31m" in str(error)


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(TraceError("f", "a", "b", "Do c.", "w")))
    assert (str(error), error.tensor, error.remedy) == ("f, tensor 'w': found a; expected b. Do c.", "w", "Do c.")
