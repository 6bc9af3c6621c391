"""Traces by name, and the traces that ship."""

import numpy as np
import pytest

from optconform.conformance.traces import (
    TraceError,
    catalog,
    default_names,
    find_trace,
    open_trace,
    shipped_names,
)
from optconform.conformance.traces.summary import summarize_gradients, trace_bytes


def test_every_folder_that_ships_is_listed_and_the_other_way_round():
    assert sorted(folder.name for folder in catalog.SHIPPED_FOLDER.iterdir()) == sorted(shipped_names())


def test_shipped_traces_are_small():
    assert sum(file.stat().st_size for file in catalog.SHIPPED_FOLDER.rglob("*") if file.is_file()) < 3 * 2**20


def test_default_traces_ship():
    """As `--help` says, they are the first three."""
    assert default_names() == shipped_names()[:3]


@pytest.mark.parametrize("name", default_names())
def test_default_trace_is_sound_and_real(name):
    trace = find_trace(name)
    assert trace.name == name
    assert trace.n_steps == 60
    assert {p.dtype for p in trace.parameters} == {"float32"}
    assert all(gradient is not None for step in trace.steps() for gradient in step.gradients.values())
    theta = trace.initial_parameters()
    assert all(np.any(theta[p.name]) for p in trace.parameters if p.shape and len(p.shape) > 1)
    assert {"model", "data", "seed", "optimizer", "versions", "script", "date", "loss"} <= set(trace.provenance)
    assert trace.provenance["loss"]["last_step"] < 0.7 * trace.provenance["loss"]["first_step"]


def test_shipped_schedules():
    assert set(find_trace("digits_mlp").multipliers) == {1.0}
    warm, peak, end = (find_trace("digits_cnn").multipliers[i] for i in (0, 10, 59))
    assert warm == 0.1
    assert peak == 1.0
    assert end < 0.001
    assert find_trace("char_transformer").multipliers[::20] == (0.1, 1.0, 1.0)


def test_find_by_synthetic_name(tools):
    assert tools.same(find_trace("synthetic:sparse"), find_trace("synthetic:sparse:0"))
    assert find_trace("synthetic:sparse:7").name == "synthetic:sparse:7"


def test_find_by_path(stored, tools):
    assert tools.same(find_trace(stored), open_trace(stored))
    assert find_trace(str(stored / "index.json")).sha256 == open_trace(stored).sha256


def test_find_verifies(stored):
    shard = stored / "gradients-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(TraceError, match="SHA-256"):
        find_trace(stored)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digits_mpl", "Did you mean 'digits_mlp'?"),
        ("synthetic:sparce", "Did you mean 'sparse'?"),
        ("synthetic", "unknown kind ''"),
        ("synthetic:zero:x", "a seed that is no number"),
        ("synthetic:zero:-1", "a seed that is no number"),
        ("generated", "generated:SIZE[:SEED[:STEPS]]"),
        ("generated:x", "no numbers where they belong"),
        ("generated:1:2:3:4", "no numbers where they belong"),
        ("generated:0", "SIZE 0"),
        ("generated:2147483648", "a number from 1 to 2147483647"),
        ("q/w/e/r/t/y", "Check the spelling"),
        ("", "neither a trace of this name nor a directory"),
        ("a\x1b[31m\n", r"a\x1b[31m\n: found neither"),
        ("\0", "neither a trace of this name nor a directory"),
        ("x" * 5000, "neither a trace of this name nor a directory"),
    ],
)
def test_unknown_names(name, words):
    with pytest.raises(TraceError) as refusal:
        find_trace(name)
    assert words in str(refusal.value)
    assert str(refusal.value).isprintable()


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(TraceError) as refusal:
        find_trace("nothing like it")
    for name in (*shipped_names(), "synthetic:mixed"):
        assert name in str(refusal.value)


def test_summary(tools):
    trace = tools.tiny_trace()
    w, s = summarize_gradients(trace)
    assert (w.steps, w.smallest, w.largest, w.zero_fraction) == (2, 1.0, 15.0, 0.0)
    assert (s.steps, s.smallest, s.largest, s.zero_fraction) == (1, 1.0, 1.0, 0.0)
    assert trace_bytes(trace) == 3 * (6 * 4 + 8)
    (zero, *_) = summarize_gradients(find_trace("synthetic:zero"))
    assert (zero.smallest, zero.largest, zero.zero_fraction) == (None, None, 1.0)
    (nothing, *_) = summarize_gradients(tools.tiny_trace(multipliers=(), gradients=()))
    assert (nothing.steps, nothing.zero_fraction) == (0, None)
