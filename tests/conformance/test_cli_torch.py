"""Audits of PyTorch optimizers from the command line: those it ships, and ones written by hand in a file."""

import json

import pytest

torch = pytest.importorskip("torch")

from optconform.conformance.cli.main import main  # noqa: E402

pytestmark = pytest.mark.torch
TRACE = ("--trace", "synthetic:mixed")

HAND_WRITTEN = """
import torch

class Base(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, weight_decay=0.0, momentum=0.9):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for theta in group["params"]:
                if theta.grad is not None:
                    self.update(theta, theta.grad, self.state[theta], group)

class Decoupled(Base):
    def update(self, theta, grad, state, group):
        buffer = state["momentum_buffer"] = group["momentum"] * state.get("momentum_buffer", 0.0) + grad
        theta.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * buffer)

class Coupled(Base):
    def update(self, theta, grad, state, group):
        grad = grad + group["weight_decay"] * theta
        buffer = state["momentum_buffer"] = group["momentum"] * state.get("momentum_buffer", 0.0) + grad
        theta.sub_(group["lr"] * buffer)

def factory(params, **options):
    return torch.optim.AdamW(params, **options)
"""


@pytest.fixture
def audited(capsys):
    """Return (exit status, JSON document) of one audit."""

    def command(*arguments):
        status = main(["audit", *arguments, *TRACE, "--format", "json"])
        return status, json.loads(capsys.readouterr().out)

    return command


def rules(document):
    return {finding["rule"] for finding in document["findings"]}


def test_adam_is_l2_and_not_decoupled(audited):
    status, document = audited("torch.optim:Adam", "--set", "weight_decay=0.1")
    assert (status, document["verdict"], document["match"]["rule"]) == (1, "l2", "adam_l2")
    assert "OC101" in rules(document)
    assert audited("torch.optim:Adam", "--set", "weight_decay=0.1", "--expect", "l2")[0] == 0


@pytest.mark.parametrize("expected", ["decoupled", "l2", "equivalent"])
def test_sgd_without_momentum_is_both(audited, expected):
    status, document = audited("torch.optim:SGD", "--set", "momentum=0.0", "--expect", expected)
    assert (status, document["verdict"]) == (0, "equivalent")


@pytest.mark.parametrize(
    "options",
    [
        ("torch.optim:AdamW",),
        ("torch.optim:AdamW", "--set", "amsgrad=True", "--set", "betas=(0.8, 0.95)"),
        ("torch.optim:AdamW", "--paths", "fused"),
        ("torch.optim:Adam", "--set", "decoupled_weight_decay=True"),
    ],
)
def test_what_is_decoupled(audited, options):
    status, document = audited(*options, "--expect", "decoupled,law=lr*wd,order=previous,epsilon=outside")
    assert (status, document["match"]["rule"]) == (0, "adamw")
    assert rules(document) == {"OC201", "OC302"}


def test_an_optimizer_that_needs_a_closure_is_said_to(audited):
    status, document = audited("torch.optim:LBFGS", "--map", "weight_decay=tolerance_grad")
    assert (status, document["verdict"], rules(document)) == (4, "inconclusive", {"OC906"})
    assert "closure" in document["reason"]


def test_a_value_that_torch_refuses(audited):
    status, document = audited("torch.optim:AdamW", "--set", "lr=-1.0")
    assert (status, document["findings"][0]["rule"]) == (3, "OC901")
    assert "Invalid learning rate: -1.0" in document["reason"]


@pytest.mark.parametrize(
    ("attribute", "verdict", "rule"), [("Decoupled", "decoupled", "sgdw"), ("Coupled", "l2", "sgd_l2")]
)
def test_a_file_is_audited_by_path(audited, tmp_path, attribute, verdict, rule):
    (tmp_path / "mine.py").write_text(HAND_WRITTEN)
    status, document = audited(f"{tmp_path / 'mine.py'}:{attribute}")
    assert (status, document["verdict"]) == (int(verdict == "l2"), verdict)
    assert (document["framework"], document["match"]["rule"]) == ("torch", rule)
    assert document["match"]["momentum"] == "lr_outside"


def test_a_factory_that_takes_any_option_is_audited(audited, tmp_path):
    (tmp_path / "mine.py").write_text(HAND_WRITTEN)
    status, document = audited(f"{tmp_path / 'mine.py'}:factory")
    assert (status, document["verdict"]) == (0, "decoupled")
    assert "beta2" not in document["probe"]
