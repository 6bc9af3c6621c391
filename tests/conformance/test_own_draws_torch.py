"""PyTorch optimizers that draw from the global generator of the CPU in a step."""

import pytest

torch = pytest.importorskip("torch")

import optconform  # noqa: E402
from optconform.adapters import random_generators  # noqa: E402
from optconform.conformance.traces import find_trace  # noqa: E402

pytestmark = pytest.mark.torch


class Dropping(torch.optim.SGD):
    """SGDW that leaves out steps of elements at random; seen with the same draws, its decay leaves out none."""

    def __init__(self, params, lr=0.01, weight_decay=0.1):
        super().__init__(params, lr=lr)
        self.param_groups[0]["weight_decay"] = weight_decay

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.mul_(1.0 - group["lr"] * group["weight_decay"])
                    p.sub_(group["lr"] * p.grad * (torch.rand(p.shape) < 0.5))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_verdict_is_the_same_whatever_the_generator_held_and_that_is_put_back(seed):
    torch.manual_seed(seed)
    before = random_generators.states()
    trace = find_trace("synthetic:small")
    result = optconform.audit(Dropping, traces=[trace], metamorphic=False)
    assert (result.verdict, result.decay.law) == ("decoupled", "lr*wd")
    assert random_generators.moved(before, random_generators.states()) == ()


def test_another_seed_is_told_from_drawing():
    with random_generators.seeded():
        before = random_generators.states()
        torch.rand(3)
        drawn = random_generators.states()
        assert random_generators.moved(before, drawn) == ("PyTorch",)
        assert not random_generators.reseeded(before, drawn)
        torch.manual_seed(5)
        assert random_generators.reseeded(drawn, random_generators.states())
