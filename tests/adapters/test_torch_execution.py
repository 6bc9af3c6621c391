"""Executions of PyTorch: sound optimizers prove what they did, and what only claims to do it is found out."""

import importlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from optconform.adapters.errors import PathNotTaken  # noqa: E402
from optconform.adapters.execution import MASTER_DTYPES, Feed, load_runtime  # noqa: E402
from optconform.adapters.torch_proofs import copies_to_host  # noqa: E402

pytestmark = pytest.mark.torch

ON_CPU = ("loop", "foreach", "fused", "tensor-lr", "grad-scaler", "grad-scaler-fused")
NAMES = ("Adadelta", "Adafactor", "Adagrad", "AdamW", "ASGD", "NAdam", "RAdam", "Rprop", "SGD")
FUSED = ("Adagrad", "AdamW", "SGD")


def without(gradients, name):
    return {**gradients, name: None}


class Silent(torch.optim.AdamW):
    """Takes `foreach` and `fused`, and runs its loop."""

    def __init__(self, params, lr=0.1, foreach=None, fused=None):
        super().__init__(params, lr, foreach=False)


class Always(torch.optim.AdamW):
    """Takes `foreach=False`, and runs foreach."""

    def __init__(self, params, lr=0.1, foreach=None):
        super().__init__(params, lr, foreach=True)


class Partly(torch.optim.AdamW):
    """Decays one parameter in a loop of its own, the rest as asked."""

    @torch.no_grad()
    def step(self, closure=None):
        super().step()
        self.param_groups[0]["params"][1].mul_(0.5)


def test_table_of_executions():
    runtime = load_runtime("torch")
    assert tuple(runtime.executions) == (
        *("default", "loop", "foreach", "fused", "capturable", "tensor-lr", "compiled"),
        *("cuda-graph", "grad-scaler", "grad-scaler-fused", "master-weights"),
    )
    assert all(name == row.name for name, row in runtime.executions.items())
    assert [row.name for row in runtime.executions.values() if row.slow] == ["compiled"]
    assert [row.name for row in runtime.executions.values() if "cpu" not in row.devices] == ["capturable", "cuda-graph"]
    assert runtime.executions["master-weights"].steps_in == MASTER_DTYPES


@pytest.mark.parametrize("execution", ON_CPU)
@pytest.mark.parametrize("name", NAMES)
def test_sound_optimizers_prove_every_way_they_take(name, execution, run_torch):
    if "fused" in execution and name not in FUSED:
        with pytest.raises(PathNotTaken, match="there is no option 'fused'"):
            run_torch(f"torch.optim:{name}", execution)
        return
    proof = run_torch(f"torch.optim:{name}", execution).proof()
    assert (proof.on_path, proof.on_device) == (True, True), proof.observed


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("execution", ["loop", "foreach", "fused", "grad-scaler", "grad-scaler-fused"])
def test_looking_on_and_scaling_change_no_bit(execution, dtype, run_torch, parameters, feeds):
    if (execution, dtype) == ("grad-scaler", "float16"):
        with pytest.raises(PathNotTaken, match="GradScaler leaves float16 gradients to optimizers that unscale them"):
            run_torch("torch.optim:AdamW", execution, dtype)
        return
    found = run_torch("torch.optim:AdamW", execution, dtype)
    options = {"loop": {"foreach": False}, "foreach": {"foreach": True}}.get(execution, {})
    tensors = [
        torch.nn.Parameter(torch.tensor(each, dtype=torch.float64).to(getattr(torch, dtype)))
        for each in parameters.values()
    ]
    plain = torch.optim.AdamW(tensors, fused="fused" in execution or None, **options)
    for feed in feeds:
        plain.param_groups[0]["lr"] = feed.lr
        for tensor, gradient in zip(tensors, feed.gradients.values(), strict=True):
            tensor.grad = torch.tensor(gradient).to(tensor.dtype)
        plain.step()
    assert found.proof().on_path
    for tensor, array in zip(tensors, found.read_parameters().values(), strict=True):
        assert tensor.detach().double().numpy().tobytes() == array.astype(np.float64).tobytes()


@pytest.mark.parametrize("execution", ["default", *ON_CPU, "master-weights"])
def test_nothing_is_proved_before_the_first_step(execution, run_torch):
    dtype = "bfloat16" if execution == "master-weights" else "float32"
    proof = run_torch("torch.optim:AdamW", execution, dtype, given=()).proof()
    assert not proof.on_path
    assert proof.on_device


def test_what_was_seen_is_said(run_torch):
    assert run_torch("torch.optim:AdamW", "fused").proof().observed == (
        "in 6 updates parameters were written by aten::_fused_adamw_; 12 tensors of parameters and state lived on cpu"
    )


@pytest.mark.parametrize(
    ("execution", "family"), [("foreach", "foreach"), ("fused", "fused"), ("grad-scaler-fused", "fused")]
)
def test_loop_that_passes_for_another_way(execution, family, run_torch):
    proof = run_torch(Silent, execution).proof()
    assert not proof.on_path
    assert f"in update 1 'w' was written by aten::addcdiv_, aten::mul_, not by _{family}_* alone" in proof.observed


def test_foreach_that_passes_for_the_loop(run_torch):
    proof = run_torch(Always, "loop").proof()
    assert not proof.on_path
    assert "written by aten::_foreach_addcdiv_, aten::_foreach_mul_, not one by one" in proof.observed


@pytest.mark.parametrize("execution", ["foreach", "fused"])
def test_one_parameter_in_a_loop(execution, run_torch):
    proof = run_torch(Partly, execution).proof()
    assert not proof.on_path
    assert "'b' was written by" in proof.observed


def test_one_step_in_a_loop(run_torch, feeds):
    class Later(torch.optim.AdamW):
        def step(self, closure=None):
            self.param_groups[0]["foreach"] = len(self.state) == 0
            super().step()

    proof = run_torch(Later, "foreach").proof()
    assert not proof.on_path
    assert "in update 2" in proof.observed


def test_loop_of_what_has_no_other_way(run_torch):
    def plain(params, lr=0.1):
        return torch.optim.SGD(params, lr)

    with pytest.raises(PathNotTaken, match="no option 'foreach' or 'fused' that could be turned off"):
        run_torch(plain, "loop")


def test_missing_gradients_are_nothing_to_judge(run_torch, feeds):
    given = (feeds[0], Feed(without(feeds[1].gradients, "b"), 0.02), Feed(dict.fromkeys(feeds[2].gradients), 0.04))
    for execution in ("fused", "grad-scaler-fused"):
        proof = run_torch("torch.optim:AdamW", execution, given=given).proof()
        assert proof.on_path, proof.observed


def test_learning_rate_that_does_not_stay_a_tensor(run_torch):
    class Numbers(torch.optim.SGD):
        def step(self, closure=None):
            self.param_groups[0]["lr"] = float(self.param_groups[0]["lr"])
            super().step()

    assert run_torch("torch.optim:SGD", "tensor-lr").proof().on_path
    proof = run_torch(Numbers, "tensor-lr").proof()
    assert not proof.on_path
    assert "update 1 left another learning rate than the tensor it was given" in proof.observed


@pytest.mark.parametrize("name", ["capturable", "cuda-graph"])
def test_what_needs_a_gpu_is_refused_on_the_cpu(name, run_torch):
    with pytest.raises(PathNotTaken, match=f"does not take the path '{name}'"):
        run_torch("torch.optim:AdamW", name)


@pytest.fixture
def capturable_on_cpu(monkeypatch):
    adam = importlib.import_module("torch.optim.adam")
    monkeypatch.setattr(adam, "_get_capturable_supported_devices", lambda **_: ["cpu"])


class Waits(torch.optim.AdamW):
    def step(self, closure=None):
        super().step()
        self.norm = self.param_groups[0]["params"][0].sum().item()


class Counts(torch.optim.AdamW):
    def step(self, closure=None):
        super().step()
        for state in self.state.values():
            state["step"] = state["step"].to("meta")


@pytest.mark.parametrize(
    ("target", "steps", "against"),
    [
        ("torch.optim:AdamW", 6, ""),
        (Waits, 6, "in update 1 the host waited for aten::_local_scalar_dense"),
        (Counts, 1, "in update 1 the step count of 'w' was kept as meta, not as a tensor on cpu"),
    ],
)
def test_capturable_steps_wait_for_nothing(target, steps, against, run_torch, feeds, capturable_on_cpu, monkeypatch):
    monkeypatch.setattr("optconform.adapters.pytorch.require_path", lambda *_: None)
    proof = run_torch(target, "capturable", given=feeds[:steps]).proof()
    assert proof.on_path == (not against), proof.observed
    assert against in proof.observed


def test_copies_to_the_host_are_told_from_what_stays():
    there, here = torch.empty(2, device="meta"), torch.empty(2)
    assert copies_to_host((there,), here)
    assert copies_to_host((here, there), here)
    assert not copies_to_host((here, 1.0), here)
    assert not copies_to_host((there,), there)
    assert not copies_to_host((there,), [here])
