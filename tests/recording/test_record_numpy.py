"""Recording a loop of one's own over NumPy arrays, and what `record` says of anything that it cannot record."""

import json
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import optconform
from optconform.adapters.protocol import SparseRows
from optconform.conformance.traces import TraceError, open_trace

pytestmark = pytest.mark.numpy


def parameters():
    rng = np.random.default_rng(4)
    return {"w": rng.standard_normal((4, 3)).astype(np.float32), "b": rng.standard_normal(3).astype(ml_dtypes.bfloat16)}


def gradients(step):
    rng = np.random.default_rng(100 + step)
    return {"w": rng.standard_normal((4, 3)).astype(np.float32), "b": rng.standard_normal(3).astype(ml_dtypes.bfloat16)}


def descend(theta, grads, lr=0.1):
    """Update `theta` in place."""
    for name, grad in grads.items():
        theta[name] -= (lr * grad).astype(grad.dtype)


def same(left, right):
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and left[name].tobytes() == right[name].tobytes() for name in left
    )


@pytest.mark.parametrize("sample", [None, 5])
def test_every_step_is_copied(sample, tmp_path):
    theta = parameters()
    initial = {name: array.copy() for name, array in theta.items()}
    after = []
    with optconform.record(
        theta, tmp_path / "run.trace", optimizer="mine", snapshots=True, sample=sample, provenance={"data": "noise"}
    ) as recording:
        for step in (1, 2, 3):
            grads = gradients(step)
            descend(theta, grads)
            recording.step(
                grads, lr=0.1 / step, after=theta, hyperparameters={"weight_decay": np.float32(0.5), "f": len}
            )
            after.append({name: array.copy() for name, array in theta.items()})
            for grad in grads.values():
                grad[...] = 7
    trace = open_trace(recording.path)
    places = {name: trace.coordinates(name) for name in theta}

    def kept(arrays):
        return {n: a if places[n] is None else a.reshape(-1)[places[n]] for n, a in arrays.items()}

    assert (places["w"] is None) == (sample is None)
    assert same(trace.initial_parameters(), kept(initial))
    for step in trace.steps():
        assert same(step.gradients, kept(gradients(step.index)))
        assert same(trace.parameters_after(step.index), kept(after[step.index - 1]))
    assert trace.multipliers == pytest.approx((1, 1 / 2, 1 / 3), rel=1e-15)
    assert trace.run.optimizer == "mine"
    assert trace.run.framework == "numpy"
    assert trace.run.groups[0].parameters == ("w", "b")
    assert trace.run.groups[0].at(2) == {"lr": 0.05, "weight_decay": 0.5}
    (segment,) = trace.run.segments
    assert same(trace.state_before(segment)["theta"], trace.initial_parameters())
    assert trace.provenance["data"] == "noise"
    assert trace.provenance["versions"].keys() == {"optconform", "numpy"}
    assert recording.n_steps == 3


def test_missing_and_sparse_gradients(tmp_path):
    rows = SparseRows(np.array([1, 3]), np.ones((2, 3), np.float32), (4, 3))
    for sample in (None, 5):
        with optconform.record(parameters(), tmp_path / f"{sample}.trace", sample=sample) as recording:
            recording.step({"w": rows, "b": None})
            recording.step({})
        trace = open_trace(recording.path)
        assert trace.missing == {1: {"b"}, 2: {"w", "b"}}
        found = next(trace.steps()).gradients["w"].reshape(-1)
        places = trace.coordinates("w")
        assert np.array_equal(found, rows.dense().reshape(-1)[slice(None) if places is None else places])


def test_a_recording_that_begins_in_the_middle(tmp_path):
    theta = parameters()
    before = {}
    with optconform.record(theta, tmp_path / "run.trace", steps=range(3, 5)) as recording:
        for step in (1, 2, 3, 4, 5):
            if step == 3:
                before = {name: array.copy() for name, array in theta.items()}
            grads = gradients(step) | ({"b": None} if step == 2 else {})
            descend(theta, {name: grad for name, grad in grads.items() if grad is not None})
            recording.step(grads, after=theta)
    trace = open_trace(recording.path)
    assert trace.n_steps == 2
    assert same(trace.initial_parameters(), before)
    (segment,) = trace.run.segments
    assert segment.training_step == 3
    state = trace.state_before(segment)
    assert same(state["theta"], before)
    assert {name: float(count) for name, count in state["step"].items()} == {"w": 2.0, "b": 1.0}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"gradients": {"v": np.ones(3)}}, ValueError, "'v' in gradients, but the parameters are w, b"),
        ({"gradients": {"w": np.ones((4, 3))}}, TypeError, "array of float64 as gradients.*array of float32"),
        ({"gradients": {"w": [1.0]}}, TypeError, r"a list as gradients\['w'\]"),
        ({"gradients": {"w": np.ones((3, 4), np.float32)}}, ValueError, r"shape \(3, 4\) of gradients"),
        ({"gradients": {}, "after": {"w": np.ones((4, 3), np.float32)}}, ValueError, r"after= has no \['b'\]"),
        (
            {"gradients": {}, "after": parameters() | {"w": np.ones(2, np.float32)}},
            ValueError,
            r"shape \(2,\) of after",
        ),
        ({"gradients": {}}, ValueError, "no after=, but snapshots=True needs"),
        (
            {"gradients": {}, "after": parameters(), "hyperparameters": 5},
            TypeError,
            "hyperparameters=5, but should be a mapping",
        ),
        ({"gradients": {}, "lr": "fast", "after": parameters()}, ValueError, "could not convert string to float"),
    ],
)
def test_wrong_arguments_are_told_at_once_and_count_for_nothing(arguments, error, message, tmp_path):
    theta = parameters()
    with optconform.record(theta, tmp_path / "run.trace", snapshots=True) as recording:
        with pytest.raises(error, match=message):
            recording.step(**arguments)
        recording.step(gradients(1), after=theta)
    assert open_trace(recording.path).n_steps == 1


def test_theta_in_the_middle_has_to_be_told(tmp_path):
    with optconform.record(parameters(), tmp_path / "run.trace", steps=range(2, 4)) as recording:
        recording.step({}, lr=1.0)
        with pytest.raises(ValueError, match="no after= in the step before"):
            recording.step(gradients(2))
        recording.close()
    with pytest.raises(ValueError, match=r"run.trace, which is closed"):
        recording.step(gradients(3))


@pytest.mark.filterwarnings("ignore::optconform.RecordingWarning")
def test_parameters_that_no_trace_holds(tmp_path):
    for wrong, message in (
        ({"w": np.ones(2, np.int32)}, "'w' has dtype int32, but should have one of float64, float32"),
        ({"w": np.ones(2, ">f4")}, "'w' has dtype >f4"),
        ({1: np.ones(2)}, "1 as the name of a parameter"),
    ):
        with pytest.raises(TypeError, match=message):
            optconform.record(wrong, tmp_path / "run.trace")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", [[np.ones(2)], {}, {"w": [1.0]}, object, None, "torch.optim:AdamW"], ids=str)
def test_what_cannot_be_recorded(target, tmp_path):
    with pytest.raises(
        TypeError, match=r"cannot record a builtins\.\w+; expected a torch\.optim\.Optimizer.* NumPy arrays"
    ):
        optconform.record(target, tmp_path / "run.trace")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sampel": 3}, TypeError, "unknown option 'sampel'; a recording takes sample, seed, steps"),
        ({"sample": 0}, ValueError, "sample=0, but should be at least 1"),
        ({"sample": 2**63}, ValueError, r"sample=\d+, but should be less than 2\*\*63"),
        ({"sample": 2, "seed": 2**1024}, ValueError, r"but should be less than 2\*\*1024"),
        ({"steps": 5}, TypeError, "steps=5, but should be a range"),
        ({"snapshots": "no"}, TypeError, "snapshots='no', but should be True or False"),
        ({"overwrite": 1}, TypeError, "overwrite=1, but should be True or False"),
        ({"optimizer": np.add}, TypeError, "optimizer=<ufunc 'add'>, but should be text"),
        ({"provenance": {"a": object()}}, TypeError, "a mapping that JSON can hold"),
        ({"provenance": 5}, TypeError, "a mapping that JSON can hold"),
        ({"provenance": {"a": float("nan")}}, TypeError, "a mapping that JSON can hold"),
        ({"model": object()}, TypeError, "model= has no meaning for a dict"),
    ],
)
def test_wrong_options(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        optconform.record(parameters(), tmp_path / "run.trace", **options)
    assert list(tmp_path.iterdir()) == []


def test_paths_that_cannot_be_written_are_refused_before_training(tmp_path):
    (tmp_path / "taken").mkdir()
    for path, message in (
        (tmp_path / "none" / "run.trace", "no directory above it"),
        (tmp_path / "taken", "new name"),
        (tmp_path / ("x" * 300), "no way to write there"),
    ):
        with pytest.raises(TraceError, match=message):
            optconform.record(parameters(), path)


def test_record_imports_no_framework(tmp_path):
    code = """
import json, sys, numpy as np, optconform
with optconform.record({"w": np.ones(2)}, sys.argv[1]) as recording:
    recording.step({"w": np.ones(2)})
print(json.dumps([sorted({"torch", "tensorflow", "keras", "jax", "optax"} & sys.modules.keys()), recording.n_steps]))
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run.trace")], capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout) == [[], 1]
