"""The shipped traces that PyTorch trained are what their scripts record."""

import numpy as np
import pytest

from optconform.conformance.traces import find_trace

pytest.importorskip("torch")
pytest.importorskip("sklearn")

pytestmark = pytest.mark.torch


def test_first_steps_recorded_anew(check_recording):
    assert check_recording("torch_digits_mlp", "digits_mlp") <= 1


def test_another_learning_rate_is_seen(check_recording):
    assert check_recording("torch_digits_mlp", "digits_mlp", lr=0.101) > 1


def test_first_steps_of_the_embedding_recorded_anew(check_recording):
    assert check_recording("torch_word_embedding", "word_embedding") <= 1


def test_another_learning_rate_of_the_embedding_is_seen(check_recording):
    assert check_recording("torch_word_embedding", "word_embedding", lr=0.505) > 1


def test_first_steps_in_mixed_precision_recorded_anew(check_recording, tools):
    assert check_recording("torch_mixed_precision", "mixed_precision", tools.mixed_tolerance) <= 1


def test_another_learning_rate_in_mixed_precision_is_seen(check_recording, tools):
    assert check_recording("torch_mixed_precision", "mixed_precision", tools.mixed_tolerance, lr=0.011) > 1


def test_mixed_precision_skips_the_steps_that_overflowed():
    trace = find_trace("mixed_precision")
    assert len(trace.run.skipped) == 3
    for step in trace.run.skipped:
        before, after = trace.parameters_after(step - 1), trace.parameters_after(step)
        assert all(np.array_equal(before[name], after[name]) for name in before), "a skipped step moves nothing"
        assert trace.missing[step] == {parameter.name for parameter in trace.parameters}


def test_the_embedding_is_kept_by_its_rows():
    trace = find_trace("word_embedding")
    (shard,) = trace.index.gradients
    rows = trace.tensors(trace.index.rows[shard.file])
    assert list(rows.keys()) == ["embedding.weight"]
    used, _ = rows.get_slice("embedding.weight").get_shape()
    assert used < 0.1 * trace.n_steps * trace.parameters[-1].shape[0], "few of the words are in a batch"
