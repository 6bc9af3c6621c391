"""How a PyTorch optimizer is used: faults that hand-written ones have, and what torch.optim itself does."""

from functools import cache

import pytest

torch = pytest.importorskip("torch")

from optconform.conformance.api import make_subject  # noqa: E402
from optconform.conformance.faults.trace import fault_trace  # noqa: E402
from optconform.conformance.metamorphic import table  # noqa: E402
from optconform.conformance.metamorphic.attempts import attempted  # noqa: E402
from optconform.conformance.metamorphic.drawing import drawn_setting  # noqa: E402
from optconform.conformance.result import Severity  # noqa: E402

pytestmark = pytest.mark.torch

NAMES = ("restore", "sparse gradients", "exclusion", "reproducibility", "lr change", "decay change", "zero gradients")
CHECKS = {name: next(row.run for row in table.CHECKS if row.name == name) for name in NAMES}


class Momentum(torch.optim.Optimizer):
    """b <- .9*b + g; theta <- theta - lr*b - lr*wd*theta."""

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.sub_(self.direction(p), alpha=self.rate(group))
                    self.decay(p, group)

    def direction(self, p):
        grad = p.grad.to_dense() if p.grad.is_sparse else p.grad
        buffer = self.state[p].setdefault("buffer", torch.zeros_like(p))
        return buffer.mul_(0.9).add_(grad)

    def rate(self, group):
        return group["lr"]

    def decay(self, p, group):
        p.mul_(1.0 - group["lr"] * group["weight_decay"])


class BufferBesideState(Momentum):
    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, lr, weight_decay)
        self.buffers = {}

    def direction(self, p):
        buffer = self.buffers.setdefault(id(p), torch.zeros_like(p))
        return buffer.mul_(0.9).add_(p.grad.to_dense())


class RefusesItsState(Momentum):
    def load_state_dict(self, state_dict):
        raise KeyError("step")


class ReadsDefaults(Momentum):
    def decay(self, p, group):
        p.mul_(1.0 - group["lr"] * self.defaults["weight_decay"])


class LazyRows(Momentum):
    def decay(self, p, group):
        if p.grad.is_sparse:
            rows = p.grad.coalesce().indices()[0]
            p[rows] *= 1.0 - group["lr"] * group["weight_decay"]
        else:
            super().decay(p, group)


class OwnRate(Momentum):
    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, lr, weight_decay)
        self.lr = lr

    def rate(self, group):
        return self.lr

    def decay(self, p, group):
        p.mul_(1.0 - self.lr * group["weight_decay"])


class DecayOnce(Momentum):
    """Takes the decay as it is at construction, group by group."""

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, lr, weight_decay)
        self.decays = [group["weight_decay"] for group in self.param_groups]

    def decay(self, p, group):
        number = next(n for n, each in enumerate(self.param_groups) if each is group)
        p.mul_(1.0 - group["lr"] * self.decays[number])


class Noise(Momentum):
    def direction(self, p):
        return super().direction(p) + 1e-3 * torch.randn_like(p)


class SeededNoise(Noise):
    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, lr, weight_decay)
        self.generator = torch.Generator().manual_seed(7)

    def direction(self, p):
        noise = torch.randn(p.shape, generator=self.generator, dtype=p.dtype)
        return Momentum.direction(self, p) + 1e-3 * noise


class Normalised(Momentum):
    def direction(self, p):
        return p.grad / p.grad.norm()


@cache
def setting_of(target):
    return drawn_setting(make_subject(target, framework="torch"), [fault_trace()])


def outcomes(name, target):
    return list(attempted(CHECKS[name](setting_of(target))))


@pytest.mark.parametrize("name", CHECKS)
def test_a_sound_optimizer_passes(name):
    assert {outcome.outcome for outcome in outcomes(name, Momentum)} == {"passed"}


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("restore", BufferBesideState, "is not saved"),
        ("restore", RefusesItsState, "KeyError"),
        ("exclusion", ReadsDefaults, "walks the path with decay"),
        ("sparse gradients", LazyRows, "only in rows that have an entry"),
        ("lr change", OwnRate, "the same in every bit"),
        ("decay change", DecayOnce, "changes nothing"),
        ("decay change", ReadsDefaults, "changes nothing"),
        ("reproducibility", Noise, "global random generator of PyTorch"),
        ("zero gradients", Normalised, "NaN or infinite after step 1"),
    ],
)
def test_a_fault_fails_its_check_and_says_how(name, target, words):
    found = outcomes(name, target)
    assert {outcome.outcome for outcome in found} == {"failed"}
    assert words in found[0].message
    assert found[0].severity is None


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "Adafactor", "ASGD", "RAdam"])
@pytest.mark.parametrize("name", CHECKS)
def test_torch_optim_raises_no_alarm(name, optimizer):
    found = {outcome.outcome for outcome in outcomes(name, f"torch.optim:{optimizer}")}
    assert found == ({"skipped"} if name == "sparse gradients" else {"passed"})


def test_rprop_takes_its_learning_rate_as_the_first_step_size():
    (outcome,) = outcomes("lr change", torch.optim.Rprop)
    assert outcome.outcome == "skipped"
    assert "Rprop" in outcome.message


def test_noise_from_a_generator_of_its_own_repeats_but_is_not_saved():
    (outcome,) = outcomes("reproducibility", SeededNoise)
    assert outcome.outcome == "passed"
    (outcome,) = outcomes("restore", SeededNoise)
    assert outcome.outcome == "failed"


def test_nadam_changes_the_precision_of_its_state_when_it_is_loaded():
    """`mu_product` is made in float32, whatever the parameters, and loaded in the parameters' dtype."""
    (outcome,) = outcomes("restore", "torch.optim:NAdam")
    if outcome.outcome == "passed":
        pytest.skip("this torch keeps the dtype of mu_product")
    assert (outcome.outcome, outcome.severity) == ("failed", Severity.WARNING)
    assert "float32" in outcome.message
