"""What PyTorch tells of devices and settings, and where tensors live."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from optconform.adapters import torch_devices  # noqa: E402
from optconform.adapters.execution import load_runtime  # noqa: E402
from optconform.adapters.torch_devices import Location  # noqa: E402
from optconform.adapters.torch_execution import TorchRuntime  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("group", [{}, {"fused": None, "capturable": False}, {"fused": True}, {"capturable": True}])
@pytest.mark.parametrize("slot", ["step", "mu_product", "exp_avg"])
def test_scalars_on_the_host_are_by_design_where_that_is_documented(group, slot):
    parameter = torch.empty(2, device="meta")
    state = {parameter: {slot: torch.tensor(1.0), "exp_avg_sq": torch.empty(2, device="meta")}}
    built = SimpleNamespace(param_groups=[{"params": [parameter], **group}], state=state)
    location = Location(SimpleNamespace(optimizer=built, tensors={"w": parameter}), "meta")
    by_design = slot != "exp_avg" and not any(group.values())
    assert location.verdict() == (
        by_design,
        "2 tensors of parameters and state lived on meta" if by_design else f"{slot} of 'w' on cpu, not on meta",
    )
    assert not Location(SimpleNamespace(optimizer=built, tensors={"w": parameter}), "cpu").verdict()[0]


def test_state_on_another_device(run_torch):
    class Elsewhere(torch.optim.SGD):
        def step(self, closure=None):
            super().step()
            for parameter in self.param_groups[0]["params"]:
                self.state[parameter]["exp_avg"] = torch.empty_like(parameter, device="meta")

    proof = run_torch(Elsewhere, "tensor-lr").proof()
    assert (proof.on_path, proof.on_device) == (True, False)
    assert "exp_avg of 'w' on meta, not on cpu" in proof.observed


def test_runtime_describes_versions_devices_and_settings(monkeypatch):
    runtime = load_runtime("torch")
    assert runtime.versions()["torch"] == str(torch.__version__)
    assert runtime.devices()[0] == "cpu"
    assert runtime.describe("cpu")["name"]
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = runtime.flags()
    assert before["num_threads"] == str(torch.get_num_threads())
    assert before["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert before["deterministic_algorithms"] == "False"
    torch.use_deterministic_algorithms(True)
    try:
        changed = {name for name, value in runtime.flags().items() if value != before[name]}
    finally:
        torch.use_deterministic_algorithms(False)
    assert changed == {"deterministic_algorithms"}


def test_gpu_is_described_by_its_name_capability_memory_and_driver(monkeypatch):
    properties = SimpleNamespace(name="NVIDIA H200", major=9, minor=0, total_memory=150_000_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_properties", {1: properties}.get)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr("optconform.adapters.torch_devices.nvidia_driver", lambda: "570.86.15")
    expected = {"name": "NVIDIA H200", "capability": "9.0", "memory": "150000000000"}
    runtime = TorchRuntime()
    assert runtime.describe("gpu:1") == {**expected, "driver": "570.86.15", "runtime": "CUDA 12.8"}
    monkeypatch.setattr(torch.version, "hip", "6.2")
    assert runtime.describe("gpu:1") == {**expected, "runtime": "ROCm 6.2"}


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (SimpleNamespace(allow_tf32=True), "allow_tf32=True"),
        (SimpleNamespace(allow_tf32=False, fp32_precision="none"), "allow_tf32=False"),
        (SimpleNamespace(fp32_precision="tf32"), "tf32"),
    ],
)
def test_tf32_is_read_the_way_it_was_set(backend, expected, monkeypatch):
    monkeypatch.setattr(torch.backends, "cudnn", SimpleNamespace(deterministic=True, benchmark=False, **vars(backend)))
    assert TorchRuntime().flags()["cudnn"] == expected


def test_setting_that_torch_refuses_to_read(monkeypatch):
    def mixed():
        raise RuntimeError("mix of the legacy and new APIs")

    monkeypatch.setitem(torch_devices.FLAGS, "float32_matmul_precision", mixed)
    assert TorchRuntime().flags()["float32_matmul_precision"] == "unreadable"
