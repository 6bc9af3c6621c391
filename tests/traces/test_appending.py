"""A trace that grows: valid after every flush, whatever came in and whatever failed."""

import os

import numpy as np
import pytest

from optconform.adapters.protocol import SparseRows
from optconform.adapters.recording import GroupValues, TrainingStep
from optconform.conformance.traces import Parameter, TraceError, appending, open_trace
from optconform.conformance.traces.appending import TraceAppender
from optconform.conformance.traces.run import RecordedRun

TABLE = Parameter("table", (4, 2), "float32")
BIAS = Parameter("bias", (3,), "float64")


def appender(folder, **more):
    """An appender over `table` and `bias` in `folder`."""
    folder.mkdir(exist_ok=True)
    initial = {"table": np.zeros((4, 2), np.float32), "bias": np.arange(3.0)}
    return TraceAppender(folder, folder, name="grown", parameters=(TABLE, BIAS), initial=initial, **more)


def rows(*indices, value=1.0):
    """A sparse gradient of `table` whose entries are `value` plus the row."""
    at = np.array(indices, np.int64)
    return SparseRows(at, (np.ones((len(at), 2)) * value + at[:, None]).astype(np.float32), (4, 2))


def test_the_trace_is_valid_and_complete_after_every_flush(tmp_path):
    growing = appender(tmp_path / "t")
    assert open_trace(tmp_path / "t").n_steps == 0
    for step in range(1, 6):
        growing.append(TrainingStep({"table": None, "bias": np.full(3, float(step))}, lr=float(step)))
        assert open_trace(tmp_path / "t").n_steps == step - 1
        growing.flush()
        trace = open_trace(tmp_path / "t")
        assert [float(each.gradients["bias"][0]) for each in trace.steps()] == list(range(1, step + 1))
        assert trace.multipliers == tuple(float(each) for each in range(1, step + 1))


def test_sparse_gradients_take_only_their_rows_and_come_back_dense(tmp_path):
    growing = appender(tmp_path / "t")
    given = [rows(0, 3), None, rows(), rows(1, 2, value=-7.0)]
    for each in given:
        growing.append(TrainingStep({"table": each, "bias": None}))
    growing.close()
    trace = open_trace(tmp_path / "t")
    for step, each in zip(trace.steps(), given, strict=True):
        found = step.gradients["table"]
        assert (found is None) == (each is None)
        if each is not None:
            np.testing.assert_array_equal(found, each.dense())
            for start in range(9):
                block = trace.block("table", step.index, start, 8)
                np.testing.assert_array_equal(block, each.dense().reshape(-1)[start:])
    (shard,) = trace.index.gradients
    assert trace.tensors(shard).get_slice("table").get_shape() == [4, 2]
    assert list(trace.tensors(shard).keys()) == ["table"], "a parameter without gradients takes no space"


def test_sparse_and_dense_in_one_shard_are_kept_dense(tmp_path):
    growing = appender(tmp_path / "t")
    dense = np.ones((4, 2), np.float32)
    for each in (rows(2), dense):
        growing.append(TrainingStep({"table": each}))
    growing.close()
    trace = open_trace(tmp_path / "t")
    assert not trace.index.rows
    first, second = (step.gradients["table"] for step in trace.steps())
    np.testing.assert_array_equal(first, rows(2).dense())
    np.testing.assert_array_equal(second, dense)


def test_a_parameter_that_joins_has_no_gradient_before(tmp_path):
    growing = appender(tmp_path / "t")
    growing.append(TrainingStep({"bias": np.ones(3)}))
    late = Parameter("late", (2,), "float32", (10, 10))
    growing.join([late], {"late": np.full(2, 5.0, np.float32)}, {"late": np.array([7, 90])})
    growing.append(TrainingStep({"bias": np.ones(3), "late": np.ones(2, np.float32)}))
    growing.close()
    trace = open_trace(tmp_path / "t")
    assert trace.missing == {1: {"table", "late"}, 2: {"table"}}
    assert trace.initial_parameters()["late"].tolist() == [5.0, 5.0]
    assert trace.coordinates("late").tolist() == [7, 90]
    assert trace.coordinates("bias") is None


def test_hyperparameters_are_kept_where_they_change(tmp_path):
    growing = appender(tmp_path / "t", run=RecordedRun("numpy", "tests:Mine"), lr_base=None)
    for lr, decay in ((0.0, 0.1), (0.2, 0.1), (0.1, 0.5)):
        group = GroupValues(("bias",), {"lr": lr, "weight_decay": decay})
        growing.append(TrainingStep({"bias": np.ones(3)}, lr=lr, groups=(group,)))
    growing.close()
    trace = open_trace(tmp_path / "t")
    assert trace.multipliers == (0.0, 1.0, 0.5), "relative to the largest, where there is no base"
    (group,) = trace.run.groups
    assert group.hyperparameters == {"lr": ((1, 0.0), (2, 0.2), (3, 0.1)), "weight_decay": ((1, 0.1), (3, 0.5))}
    assert group.at(2) == {"lr": 0.2, "weight_decay": 0.1}


def test_segments_begin_with_the_state_before_them(tmp_path):
    growing = appender(tmp_path / "t", run=RecordedRun("numpy", "tests:Mine"))
    for number in (10, 20):
        growing.begin_segment(number, {"m": {"bias": np.full(3, number / 2)}, "step": {"bias": np.array(number - 1.0)}})
        after = {"table": np.zeros((4, 2), np.float32), "bias": np.full(3, float(number))}
        growing.append(TrainingStep({"bias": np.ones(3)}, after=after))
    growing.close()
    trace = open_trace(tmp_path / "t")
    assert [(each.step, each.training_step) for each in trace.run.segments] == [(1, 10), (2, 20)]
    state = trace.state_before(trace.run.segments[1])
    assert (state["m"]["bias"].tolist(), float(state["step"]["bias"])) == ([10.0] * 3, 19.0)
    assert trace.parameters_after(2)["bias"].tolist() == [20.0] * 3
    with pytest.raises(IndexError):
        trace.parameters_after(3)


def test_a_segment_without_a_step_leaves_no_file(tmp_path):
    growing = appender(tmp_path / "t", run=RecordedRun("numpy", "tests:Mine"))
    growing.begin_segment(1, {"m": {"bias": np.ones(3)}})
    growing.close()
    assert sorted(file.name for file in (tmp_path / "t").iterdir()) == ["index.json", "initial.safetensors"]


REFUSED = {
    "shape": ({"bias": np.ones(4)}, "found float64 (4,) as step 2; expected float64 (3,)"),
    "dtype": ({"bias": np.ones(3, np.float32)}, "found float32 (3,) as step 2"),
    "nan": ({"bias": np.array([1.0, np.nan, 1.0])}, "found nan in step 2 at flat index 1"),
    "unknown": ({"bais": np.ones(3)}, "tensor 'bais'"),
    "rows-beyond": ({"table": rows(0, 4)}, "rising rows, each once"),
    "rows-twice": ({"table": rows(2, 2)}, "rising rows, each once"),
    "rows-of-another-shape": ({"table": SparseRows(np.array([0]), np.ones((1, 3)), (4, 3))}, "rows of (4, 2)"),
    "rows-dtype": ({"table": SparseRows(np.array([0]), np.ones((1, 2)), (4, 2))}, "expected float32"),
}


@pytest.mark.parametrize(("gradients", "words"), REFUSED.values(), ids=REFUSED)
def test_a_step_that_does_not_fit_is_refused_and_the_rest_kept(tmp_path, gradients, words):
    growing = appender(tmp_path / "t")
    growing.append(TrainingStep({"bias": np.ones(3)}))
    with pytest.raises(TraceError) as refusal:
        growing.append(TrainingStep(gradients))
    assert words in str(refusal.value)
    growing.close()
    assert open_trace(tmp_path / "t").n_steps == 1


@pytest.mark.parametrize("failing", ["write_shard", "format_index"])
def test_a_full_disk_leaves_the_trace_as_it_was(tmp_path, monkeypatch, failing):
    growing = appender(tmp_path / "t")
    growing.append(TrainingStep({"table": rows(1)}))
    growing.flush()
    before = sorted((file.name, file.read_bytes()) for file in (tmp_path / "t").iterdir())
    real = getattr(appending, failing)

    def refuse(*arguments):
        if failing == "write_shard" and "rows" not in str(arguments[0]):
            return real(*arguments)
        raise OSError(28, os.strerror(28))

    growing.append(TrainingStep({"table": rows(2)}))
    with monkeypatch.context() as patch:
        patch.setattr(appending, failing, refuse)
        with pytest.raises(OSError, match="No space left"):
            growing.flush()
    assert sorted((file.name, file.read_bytes()) for file in (tmp_path / "t").iterdir()) == before
    growing.flush()
    assert open_trace(tmp_path / "t").n_steps == 2, "the waiting step is not lost where the disk recovers"


def test_missing_gradients_of_a_frozen_layer_are_one_entry(tmp_path):
    growing = appender(tmp_path / "t")
    for _ in range(50):
        growing.append(TrainingStep({"bias": np.ones(3)}))
    growing.close()
    assert (tmp_path / "t" / "index.json").read_text().count("last_step") == 2, "of the shard, and of what is missing"
    assert open_trace(tmp_path / "t").missing == {step: {"table"} for step in range(1, 51)}


def test_theta_is_kept_up_to_the_first_step_without(tmp_path):
    growing = appender(tmp_path / "t", run=RecordedRun("numpy", "tests:Mine"))
    theta = {"table": np.zeros((4, 2), np.float32), "bias": np.ones(3)}
    for step, after in enumerate([theta, theta, theta, None, theta], start=1):
        growing.append(TrainingStep({"bias": np.ones(3)}, after=after))
        if step == 2:
            growing.flush()
    growing.close()
    trace = open_trace(tmp_path / "t")
    kept = [trace.parameters_after(step) is not None for step in range(1, 6)]
    assert kept == [True, True, True, False, False]
