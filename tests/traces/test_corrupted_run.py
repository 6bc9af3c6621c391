"""What a trace says of the run it was recorded from is refused where it cannot be."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from optconform.adapters.recording import GroupValues, TrainingStep
from optconform.conformance.traces import TraceError, open_trace
from optconform.conformance.traces.appending import TraceAppender
from optconform.conformance.traces.run import RecordedRun
from optconform.conformance.traces.trace import Parameter, check_parameters

DEEP = json.loads("[" * 17 + "]" * 17)
HUGE = 10**400


def refusal(folder):
    with pytest.raises(TraceError) as refused:
        open_trace(folder)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000
    return f"found {refused.value.found}; expected {refused.value.expected}"


def course(name, value):
    return lambda d: d["run"]["groups"][0]["hyperparameters"].update({name: value})


def drop_missing(step):
    return lambda d: d.update(missing=[entry for entry in d["missing"] if entry["step"] != step])


EDITED = {
    "skipped-with-gradients": (lambda d: d["run"]["skipped"].append(8), "gradients in step 8"),
    "skipped-twice": (lambda d: d["run"]["skipped"].append(7), "rising steps"),
    "skipped-beyond": (lambda d: d["run"]["skipped"].append(10), "step 10 in 'skipped'"),
    "skipped-but-one-gradient": (drop_missing(7), "gradients in step 7"),
    "segments-overlap": (lambda d: d["run"]["segments"][1].update(training_step=12), "training step 12"),
    "segment-before-the-run": (lambda d: d["run"]["segments"][0].update(training_step=0), "an integer >= 1"),
    "segment-late": (lambda d: d["run"]["segments"].pop(0), "step 4 as the first"),
    "sample-of-nothing": (lambda d: d["run"]["sample"].update(size=0), "an integer >= 1"),
    "sample-size-huge": (lambda d: d["run"]["sample"].update(size=2**63), "of at most 63 bits"),
    "seed-huge": (lambda d: d["run"]["sample"].update(seed=HUGE), "of at most 1024 bits"),
    "hyperparameter-huge": (course("lr", [[1, HUGE]]), "in 'lr'"),
    "hyperparameter-huge-inside": (course("betas", [[1, {"x": [0.9, -HUGE]}]]), "in 'betas'"),
    "hyperparameter-nested": (course("lr", [[1, DEEP]]), "deeper nesting in 'lr'"),
    "hyperparameter-no-course": (course("lr", 0.1), "a number as 'lr'"),
    "hyperparameter-step-twice": (course("lr", [[1, 0.1], [1, 0.2]]), "step 1 in 'lr'"),
    "provenance-nested": (lambda d: d["provenance"].update(x=DEEP), "deeper nesting in 'provenance'"),
    "provenance-huge": (lambda d: d["provenance"].update(seed=HUGE), "in 'provenance'"),
    "coordinates-none": (lambda d: d.pop("coordinates"), "no file of coordinates"),
    "missing-runs-on": (lambda d: d["missing"][0].update(last_step=2**62), "each step of 1..9"),
    "missing-backwards": (lambda d: d["missing"][-1].update(last_step=1), "each step of 1..9"),
    "parameter-in-two-groups": (lambda d: d["run"]["groups"].append(d["run"]["groups"][0]), "in two groups"),
    "bytes-huge": (lambda d: d["initial"].update(bytes=2**63), "of at most 63 bits"),
}


@pytest.mark.parametrize(("change", "words"), EDITED.values(), ids=EDITED)
def test_edited(rich_trace, tools, change, words):
    tools.edit_index(rich_trace, change)
    assert words in refusal(rich_trace)


def test_a_wide_seed_is_a_seed(rich_trace, tools):
    tools.edit_index(rich_trace, lambda d: d["run"]["sample"].update(seed=2**128))
    assert open_trace(rich_trace).run.sample.seed == 2**128


def tensors(folder, name, change):
    loaded = load_file(folder / name)
    change(loaded)
    save_file(loaded, folder / name)


COORDINATES = {
    "beyond": ([0, 17, 18, 100], "from 0 to 100"),
    "negative": ([-1, 17, 18, 99], "from -1 to 99"),
    "twice": ([0, 17, 17, 99], "each once"),
    "falling": ([0, 18, 17, 99], "rising"),
    # The differences of these are all positive in 64 bits.
    "wrapping": ([2**63 - 1, -(2**63), -1, 5], f"from {-(2**63)} to {2**63 - 1}"),
}


@pytest.mark.parametrize(("values", "words"), COORDINATES.values(), ids=COORDINATES)
def test_coordinates(rich_trace, tools, values, words):
    found = np.array(values, np.int64)
    tensors(rich_trace, "coordinates-00001.safetensors", lambda loaded: loaded.update(sampled=found))
    tools.sign(rich_trace)
    assert words in refusal(rich_trace)


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int32", "uint64"])
def test_state_in_a_dtype_that_no_trace_has(rich_trace, tools, dtype):
    change = {"m/dense": np.zeros((3, 4), dtype)}
    tensors(rich_trace, "state-00002.safetensors", lambda loaded: loaded.update(change))
    tools.sign(rich_trace)
    assert "a scalar of F64, F32" in refusal(rich_trace)


@pytest.mark.parametrize("name", ["after-00003.safetensors", "after-00006.safetensors"])
def test_theta_that_is_lost_after_a_parameter_has_joined(rich_trace, tools, name):
    tensors(rich_trace, name, lambda loaded: loaded.pop("late"))
    tools.sign(rich_trace)
    assert "no such tensor" in refusal(rich_trace)


@pytest.mark.parametrize("shape", [(0, 2**62), (2**30, 0, 2**30), (2**62, 2**62, 0)])
def test_no_array_has_such_a_shape_even_without_elements(shape):
    with pytest.raises(TraceError, match=r"fewer than 2\*\*48"):
        check_parameters([Parameter("w", shape, "float32")], "file")


def test_a_step_whose_hyperparameters_would_be_refused_is_not_taken(tmp_path):
    folder = tmp_path / "t"
    folder.mkdir()
    parameters, initial = [Parameter("w", (), "float64")], {"w": np.array(math.pi)}
    run = RecordedRun("numpy", "tests:Mine")
    growing = TraceAppender(folder, folder, name="t", parameters=parameters, initial=initial, run=run)
    for value, fits in ((0.1, True), ((0.9, HUGE), False), ({"x": DEEP}, False), (None, True)):
        step = TrainingStep({"w": np.array(1.0)}, groups=[GroupValues(("w",), {"x": value})])
        if fits:
            growing.append(step)
            continue
        with pytest.raises(TraceError, match="hyperparameters"):
            growing.append(step)
    growing.close()
    assert open_trace(folder).run.groups[0].hyperparameters == {"x": ((1, 0.1), (2, None))}


@pytest.mark.parametrize("provenance", [{"x": DEEP}, {"x": HUGE}])
def test_what_would_be_refused_is_not_written(tmp_path, provenance):
    folder = tmp_path / "t"
    folder.mkdir()
    parameter, initial = Parameter("w", (), "float64"), {"w": np.array(math.pi)}
    with pytest.raises(TraceError, match="provenance"):
        TraceAppender(folder, folder, name="t", parameters=[parameter], initial=initial, provenance=provenance)
    assert not list(folder.iterdir())
