"""Steps through a GradScaler: what does not skip, or does not unscale, is found out."""

import functools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from optconform.adapters.errors import PathNotTaken  # noqa: E402
from optconform.adapters.execution import Feed  # noqa: E402
from optconform.adapters.torch_scaling import scale_for, unwritten_memory_as_nan  # noqa: E402

pytestmark = pytest.mark.torch


def test_scale_keeps_every_gradient_finite(feeds):
    def of(*values):
        return [Feed({"w": np.array(values)}, 0.1), Feed({"w": None}, 0.1), Feed({"w": np.zeros(0)}, 0.1)]

    assert scale_for(of(1.0, -3.0), "float32") == 2.0**16
    assert scale_for(of(1e-3, -1e-3), "float64") == 2.0**16
    assert scale_for(of(1.0, -3.0), "float16") == 2.0**14
    assert scale_for(of(65504.0), "float16") == 2.0**4
    assert scale_for(of(0.0), "float16") == scale_for((), "float16") == 2.0**16


class Advances(torch.optim.AdamW):
    """Takes the scaler's word for it that it handles infinities, and does not."""

    def __init__(self, params, lr=0.1, fused=None):
        super().__init__(params, lr)
        self._step_supports_amp_scaling = True

    def step(self, closure=None):
        scale, self.grad_scale, self.found_inf = self.grad_scale, None, None
        for parameter in self.param_groups[0]["params"]:
            parameter.grad.div_(scale)
        super().step()


class Unscaled(torch.optim.AdamW):
    """Skips, but is blind to the scale, which Adam's step hardly shows."""

    def step(self, closure=None):
        if self.found_inf:
            return
        self.grad_scale = self.found_inf = None
        super().step()


class Forgets(torch.optim.AdamW):
    """Makes state in the step that it skips, and leaves it unwritten."""

    def step(self, closure=None):
        super().step()
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter].setdefault("exp_avg_last", torch.empty_like(parameter))


class Halves(torch.optim.AdamW):
    """Keeps count of skipped steps too."""

    def step(self, closure=None):
        super().step()
        for state in self.state.values():
            state["exp_avg"].mul_(0.5)


@pytest.mark.parametrize(
    ("target", "execution", "against"),
    [
        (Advances, "grad-scaler-fused", "a step with infinite gradients, before step 1, changed 'w'"),
        (Advances, "grad-scaler", "a step with infinite gradients, before step 1, changed 'w'"),
        (Unscaled, "grad-scaler-fused", "aten::_fused_adamw_ was not given grad_scale and found_inf"),
        (Forgets, "grad-scaler-fused", "before step 1, left 'exp_avg_last' of 'w' unwritten, or not zero"),
        (Halves, "grad-scaler-fused", "a step with infinite gradients, before step 4, changed 'm' of 'w'"),
    ],
)
def test_steps_that_are_not_skipped_or_not_unscaled(target, execution, against, run_torch):
    proof = run_torch(target, execution).proof()
    assert not proof.on_path
    assert against in proof.observed


def test_gradient_that_overflows_when_scaled(run_torch, feeds):
    large = Feed({name: np.full_like(each, 60000.0) for name, each in feeds[0].gradients.items()}, 0.05)
    proof = run_torch("torch.optim:AdamW", "grad-scaler-fused", "float16", given=(large,)).proof()
    assert not proof.on_path
    assert "the scaler found an infinity in step 1, which has none" in proof.observed


def test_scaler_that_does_not_scale(run_torch, monkeypatch):
    monkeypatch.setattr(torch.amp, "GradScaler", functools.partial(torch.amp.GradScaler, enabled=False))
    proof = run_torch("torch.optim:AdamW", "grad-scaler").proof()
    assert not proof.on_path
    assert "left the scale at 1, not at half of 1" in proof.observed


def test_unscaling_that_no_operator_shows(run_torch, monkeypatch):
    monkeypatch.setattr("optconform.adapters.torch_scaling._UNSCALE", "aten::another")
    proof = run_torch("torch.optim:AdamW", "grad-scaler").proof()
    assert not proof.on_path
    assert "in update 1 the scaler's aten::another did not run" in proof.observed


def test_scaler_needs_groups(run_torch):
    class Bare:
        def __init__(self, params, lr=0.1):
            self.params, self.lr = params, lr

        def step(self):
            pass

    with pytest.raises(PathNotTaken, match="GradScaler reads param_groups, and there are none"):
        run_torch(Bare, "grad-scaler")


def test_looking_for_unwritten_memory_leaves_the_settings_alone():
    before = (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)
    with unwritten_memory_as_nan():
        assert torch.empty(3).isnan().all()
    after = (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)
    assert before == after
