"""The one execution of NumPy, and its proof."""

import numpy as np
import pytest

from optconform.adapters.errors import MissingDevice
from optconform.adapters.execution import Feed, Opening, load_runtime
from optconform.adapters.numpy_array import NumPyAdapter
from optconform.adapters.targets import load_target

pytestmark = pytest.mark.numpy

TARGET = "optconform.adapters.numpy_optimizers:AdamW"


@pytest.fixture
def runtime():
    return load_runtime("numpy")


def opened(runtime, parameters, dtype="float32", device="cpu"):
    row = runtime.executions["default"]
    return row.open(Opening(load_target(TARGET), {"lr": 0.05}, parameters, (), dtype, device))


def test_executions_versions_devices_and_settings(runtime, monkeypatch):
    assert tuple(runtime.executions) == ("default",)
    assert runtime.versions() == {"numpy": np.__version__}
    assert runtime.devices() == ("cpu",)
    assert runtime.describe("cpu")["name"]
    monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", "AVX512F")
    assert runtime.flags()["NPY_DISABLE_CPU_FEATURES"] == "AVX512F"
    assert "simd" in runtime.flags()


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_steps_and_proof(dtype, runtime, parameters, gradients):
    executed = opened(runtime, parameters, dtype)
    assert not executed.proof().on_path
    plain = NumPyAdapter().build(load_target(TARGET), {"lr": 0.05}, parameters, dtype=dtype)
    for feed in (Feed(gradients[0], 0.05), Feed(gradients[1], 0.02)):
        executed.step(feed.gradients, feed.lr)
        plain.step(feed.gradients, feed.lr)
    proof = executed.proof()
    assert (proof.on_path, proof.on_device) == (True, True)
    assert proof.observed == f"2 updates by NumPy; 3 parameters in {dtype} on the host"
    assert executed.held["lr"] == 0.05
    assert executed.read_state().keys() == {"m", "v", "t"}
    for name, array in executed.read_parameters().items():
        assert array.tobytes() == plain.read_parameters()[name].tobytes()


def test_parameters_of_another_dtype_are_no_proof(runtime, parameters, gradients):
    executed = opened(runtime, parameters)
    executed.step(gradients[0], 0.05)
    (one,) = executed._optimizer._objects
    one.parameters["b"] = one.parameters["b"].astype(np.float64)
    assert not executed.proof().on_device
    assert "float32, float64" in executed.proof().observed


def test_there_is_one_device(runtime, parameters):
    with pytest.raises(MissingDevice, match="numpy has no device 'gpu'"):
        opened(runtime, parameters, device="gpu")
