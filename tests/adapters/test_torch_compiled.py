"""Compiled steps: what runs uncompiled, in part or by compiling anew each time, is found out."""

import pytest

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch


class Own(torch.optim.Optimizer):
    """Plain, without options for any path, but at ease with a learning rate that is a tensor."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(group["lr"] * parameter.grad)


class Disabled(Own):
    def step(self, closure=None):
        self.update()

    @torch.compiler.disable
    def update(self):
        super().step()


class Interrupted(Own):
    def step(self, closure=None):
        super().step()
        self.clip()

    @torch.compiler.disable
    def clip(self):
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                parameter.clamp_(-2, 2)


class Anew(Own):
    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        self.factors = []

    @torch.no_grad()
    def step(self, closure=None):
        self.factors.append(0.9)
        for parameter in self.param_groups[0]["params"]:
            for factor in self.factors:
                parameter.sub_(self.param_groups[0]["lr"] * parameter.grad * factor)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it imports its compiler
@pytest.mark.parametrize(
    ("target", "against"),
    [
        (Own, ""),
        (Disabled, "torch.compile compiled nothing in 6 updates"),
        (Interrupted, "torch.compile left part of the step uncompiled"),
        (Anew, "torch.compile compiled the step anew in updates 3"),
    ],
)
def test_compiled_steps(target, against, run_torch, monkeypatch):
    compile_for_good = torch.compile
    monkeypatch.setattr(torch, "compile", lambda step: compile_for_good(step, backend="eager"))  # spares the C++
    proof = run_torch(target, "compiled").proof()
    assert proof.on_path == (not against), proof.observed
    assert against in proof.observed
