"""Recorded PyTorch runs judged by their own parameters: what torch.optim documents is what its runs did."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import optconform  # noqa: E402
from optconform.conformance.traces import open_trace  # noqa: E402

pytestmark = pytest.mark.torch

STEPS = 8
ADAM = {"lr": 0.01, "weight_decay": 0.1}


@pytest.fixture
def train(tmp_path):
    """Train a small network under `make(model)` and record it; return the trace's path."""

    def run(
        make, *, steps=STEPS, dtype=torch.float32, schedule=None, scaler=None, unrecorded=0, change=None, **options
    ):
        torch.manual_seed(4)
        model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).to(dtype)
        optimizer = make(model)
        scheduler = None if schedule is None else schedule(optimizer)
        inputs = torch.randn(unrecorded + steps, 16, 6, dtype=dtype)

        def step(number):
            optimizer.zero_grad()
            loss = model(inputs[number]).square().sum()
            if scaler is None:
                loss.backward()
                optimizer.step()
            else:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
            if scheduler is not None:
                scheduler.step()

        for number in range(unrecorded):
            step(number)
        path = tmp_path / "run.trace"
        with optconform.record(optimizer, path, model=model, snapshots=True, overwrite=True, **options):
            for number in range(unrecorded, unrecorded + steps):
                if change is not None:
                    change(number, model, optimizer)
                step(number)
        return path

    return run


def adamw(**more):
    return lambda model: torch.optim.AdamW(model.parameters(), **{**ADAM, **more})


def known_as(name):
    """Give a class the name of another, as one that was patched has."""

    def rename(kind):
        kind.__module__, _, kind.__qualname__ = name.partition(":")
        return kind

    return rename


def errors(result):
    return [finding.rule for finding in result.findings if finding.severity == "error"]


class TestSound:
    @pytest.mark.parametrize("path", ["foreach", "fused", "loop"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_adamw_on_every_path(self, train, path, dtype):
        flags = {"foreach": False} if path == "loop" else {path: True}
        result = optconform.audit_run(train(adamw(**flags), dtype=dtype))
        assert (result.target, result.match.rule, result.decay.law) == ("torch.optim:AdamW", "adamw", "lr*wd")
        assert (result.verdict, result.exit_status, errors(result)) == ("decoupled", 0, [])
        # At gradients of this size eps=1e-8 is below what float32 rounding moves.
        assert result.match.epsilon == ("outside" if dtype is torch.float64 else None)

    @pytest.mark.parametrize(
        ("kind", "more", "rule", "verdict"),
        [
            ("Adam", {}, "adam_l2", "l2"),
            ("Adam", {"amsgrad": True}, "adam_l2", "l2"),
            ("Adam", {"decoupled_weight_decay": True}, "adamw", "decoupled"),
            ("AdamW", {"maximize": True, "amsgrad": True}, "adamw", "decoupled"),
            ("SGD", {"momentum": 0.9}, "sgd_l2", "l2"),
            ("SGD", {"momentum": 0.9, "nesterov": True}, "sgd_l2", "l2"),
            ("SGD", {"momentum": 0.9, "dampening": 0.5}, "sgd_l2", "l2"),
            ("SGD", {}, "sgdw", "equivalent"),
        ],
    )
    def test_what_each_class_documents(self, train, kind, more, rule, verdict):
        path = train(lambda model: getattr(torch.optim, kind)(model.parameters(), **ADAM, **more))
        result = optconform.audit_run(path)
        assert (result.verdict, result.match.rule) == (verdict, rule)
        assert (result.exit_status, errors(result)) == (0, [])

    def test_another_class_follows_none_of_the_rules_and_nothing_is_claimed(self, train):
        path = train(lambda model: torch.optim.NAdam(model.parameters(), **ADAM))
        result = optconform.audit_run(path)
        assert (result.verdict, result.exit_status, errors(result)) == ("inconclusive", 4, [])

    def test_groups_of_their_own_decay(self, train):
        def make(model):
            first, last = model[0], model[2]
            groups = [{"params": [first.weight], "weight_decay": 0.3}, {"params": [last.weight], "lr": 0.02}]
            biases = {"params": [first.bias, last.bias], "weight_decay": 0.0}
            return torch.optim.AdamW([*groups, biases], **ADAM)

        result = optconform.audit_run(train(make))
        assert (result.verdict, result.exit_status) == ("decoupled", 0)
        kinds = {each.name: each.verdict for each in result.parameters}
        weights, biases = {"0.weight", "2.weight"}, {"0.bias", "2.bias"}
        assert kinds == dict.fromkeys(weights, "decoupled") | dict.fromkeys(biases, "excluded")

    def test_one_cycle_changes_beta1_too(self, train):
        def cycle(optimizer):
            return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=STEPS + 1)

        path = train(adamw(), schedule=cycle)
        (group,) = open_trace(path).run.groups
        assert len(group.hyperparameters["beta1"]) > STEPS // 2
        result = optconform.audit_run(path)
        assert (result.verdict, result.exit_status, result.match.elements) == ("decoupled", 0, STEPS * 47)

    def test_a_scaler_that_skips_steps(self, train):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1000, backoff_factor=2.0**-60)
        path = train(adamw(fused=True), scaler=scaler)
        skipped = open_trace(path).run.skipped
        assert 0 < len(skipped) < STEPS
        result = optconform.audit_run(path)
        assert (result.verdict, result.exit_status) == ("decoupled", 0)
        assert result.match.elements == (STEPS - len(skipped)) * 47

    def test_from_the_middle_of_a_run(self, train):
        result = optconform.audit_run(train(adamw(amsgrad=True), unrecorded=5))
        assert (result.verdict, result.exit_status, result.match.elements) == ("decoupled", 0, STEPS * 47)

    def test_every_third_step_of_a_sample(self, train):
        result = optconform.audit_run(train(adamw(), unrecorded=2, steps=10, every=3, sample=6))
        assert (result.verdict, result.exit_status, result.match.elements) == ("decoupled", 0, 4 * (6 + 5 + 6 + 2))

    def test_a_layer_that_is_added_later(self, train):
        def unfreeze(number, model, optimizer):
            if number == 3:
                optimizer.add_param_group({"params": model[2].parameters(), "weight_decay": 0.05})

        path = train(lambda model: torch.optim.AdamW(model[0].parameters(), **ADAM), change=unfreeze)
        result = optconform.audit_run(path)
        assert (result.verdict, result.exit_status) == ("decoupled", 0)
        assert result.match.elements == STEPS * 35 + (STEPS - 3) * 12

    def test_weights_that_are_changed_between_steps_are_told_of(self, train):
        def clip(number, model, optimizer):
            if number in (3, 5):
                with torch.no_grad():
                    model[0].weight[3, 2] += 0.01

        result = optconform.audit_run(train(adamw(), change=clip))
        assert (result.verdict, result.exit_status, result.match.elements) == ("decoupled", 0, STEPS * 47)
        assert any("before steps 4, 6:" in sentence for sentence in result.cannot_tell)
        assert not any("before steps" in sentence for sentence in optconform.audit_run(train(adamw())).cannot_tell)

    def test_bfloat16_parameters(self, train):
        result = optconform.audit_run(train(adamw(lr=0.05, weight_decay=1.0), dtype=torch.bfloat16))
        assert (result.verdict, result.dtype, errors(result)) == ("decoupled", "bfloat16", [])


class TestFaults:
    def test_a_step_that_moves_one_weight_besides(self, train):
        @known_as("torch.optim.adamw:AdamW")
        class Clipping(torch.optim.AdamW):
            count = 0

            def step(self, closure=None):
                super().step(closure)
                self.count += 1
                if self.count == 6:
                    with torch.no_grad():
                        self.param_groups[0]["params"][0][3, 2] += 0.01

        result = optconform.audit_run(train(lambda model: Clipping(model.parameters(), **ADAM)))
        finding = next(each for each in result.findings if each.rule == "OC301")
        assert (finding.evidence["step"], finding.parameter) == (6, "0.weight")
        assert tuple(finding.evidence["element"]) == (3, 2)
        assert result.exit_status == 1

    def test_a_subclass_that_adds_the_decay_to_the_gradient(self, train):
        @known_as("torch.optim.adamw:AdamW")
        class Coupled(torch.optim.Adam):
            pass

        result = optconform.audit_run(train(lambda model: Coupled(model.parameters(), **ADAM)))
        assert (result.verdict, result.exit_status, errors(result)) == ("l2", 1, ["OC101", "OC301"])
