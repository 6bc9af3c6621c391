"""`optconform trace record` with real PyTorch: what is recorded, and what is left of it however a script ends."""

import os

import pytest

import optconform
from optconform.conformance.traces import open_trace

torch = pytest.importorskip("torch")
from optconform.adapters.torch_models import model_of  # noqa: E402 - it imports torch

pytestmark = pytest.mark.torch

TRAINING = '''
import torch


class Halved(torch.optim.SGD):
    """Has a step of its own, which calls that of its base."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad /= 2
        return super().step(closure)


def train(begin=lambda optimizer, model: None):
    """Four optimizers: the two of a GAN under a schedule, one that is given closures, and one of a class of its own.

    Calls `begin` with each, and the model it trains, ahead of its first step, and returns the parameters.
    """
    torch.manual_seed(0)
    generator, other, last = (torch.nn.Linear(2, n) for n in (3, 4, 2))
    critic = torch.nn.Linear(3, 1)
    ahead = [
        torch.optim.SGD(critic.parameters(), lr=0.1, momentum=0.9),
        torch.optim.AdamW([{"params": [generator.weight]}, {"params": [generator.bias], "weight_decay": 0.0}], lr=0.1),
        torch.optim.Adam(other.named_parameters()),
        Halved(last.parameters(), lr=0.5),
    ]
    for_critic, for_generator, closed, halved = ahead
    models = dict(zip(ahead, (critic, generator, other, last)))
    schedule = torch.optim.lr_scheduler.StepLR(for_generator, 2)

    def closure():
        closed.zero_grad()
        loss = other(torch.ones(2)).square().sum()
        loss.backward()
        return loss

    for _ in range(3):
        fake = generator(torch.randn(5, 2))
        for optimizer, sign in ((for_critic, 1), (for_generator, -1)):
            optimizer.zero_grad()
            (sign * critic(fake)).mean().backward(retain_graph=True)
            if optimizer in ahead:
                begin(ahead.pop(0), models[optimizer])
            optimizer.step()
        schedule.step()
        if closed in ahead:
            begin(ahead.pop(0), other)
        closed.step(closure)
        halved.zero_grad()
        last(torch.ones(2)).sum().backward()
        if halved in ahead:
            begin(ahead.pop(0), last)
        halved.step()
    return [parameter for model in (generator, critic, other, last) for parameter in model.parameters()]
'''


def bits(tensors):
    return [tensor.detach().numpy().tobytes().hex() for tensor in tensors]


def content(path):
    """Everything in a trace but its name and the time at which it was recorded."""
    trace = open_trace(path)
    arrays = [trace.initial_parameters(), *(step.gradients for step in trace.steps())]
    arrays += [trace.parameters_after(step) for step in range(1, trace.n_steps + 1)]
    values = [{name: None if each is None else each.tobytes() for name, each in found.items()} for found in arrays]
    run = trace.run
    return trace.parameters, trace.multipliers, values, run.framework, run.optimizer, run.groups, run.sample


def test_what_is_recorded_from_outside_is_what_is_recorded_inside(tmp_path, script, trace_record):
    recorded = trace_record("--snapshots", "--sample", 5, "--", *script(TRAINING + PRINTING))
    assert recorded.status == 3, recorded.err
    names = ["run.trace", "run-2.trace", "run-3.trace", "run-4.trace"]
    classes = ["torch.optim.sgd:SGD", "torch.optim.adamw:AdamW", "torch.optim.adam:Adam", "__main__:Halved"]
    kept = ["every coordinate", "at most 5 coordinates of a tensor", "at most 5 coordinates of a tensor", "every coor"]
    for line, name, kind, coordinates in zip(recorded.err.splitlines(), names, classes, kept, strict=True):
        assert line.startswith(f"optconform: recorded {name}: 3 steps of {kind}, 2 parameters, {coordinates}")

    here = {"__name__": "__main__"}
    exec(TRAINING, here)
    inside, opened = tmp_path / "inside", []
    inside.mkdir()
    plain = bits(here["train"]())
    options = {"snapshots": True, "sample": 5}

    def begin(optimizer, model):
        opened.append(optconform.record(optimizer, inside / names[len(opened)], model=model, **options))

    with_record = bits(here["train"](begin))
    for recording in opened:
        recording.close()
    assert recorded.out.split() == plain == with_record
    for name in names:
        assert content(tmp_path / name) == content(inside / name)
        assert {parameter.name for parameter in open_trace(tmp_path / name).parameters} == {"weight", "bias"}


PRINTING = """
if __name__ == "__main__":
    import sys
    for parameter in train():
        print(parameter.detach().numpy().tobytes().hex())
    sys.exit(3)
"""

ENDINGS = """
import json, os, pathlib, time, torch
import torch._dynamo  # the first step of a process does, which takes longer than all the rest

def train(trace, end):
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([weight])
    index = pathlib.Path(trace) / "index.json"
    while not (index.is_file() and json.loads(index.read_text())["multipliers"]):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
        time.sleep(0.01)
    end()

def fail():
    raise RuntimeError("in the training")

endings = {"run.trace": fail, "run-2.trace": lambda: os._exit(4), "run-3.trace": lambda: os.kill(os.getpid(), 9)}
for trace, end in endings.items():
    child = os.fork()
    if not child:
        train(trace, end)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="every ending in a process of its own, and PyTorch imported once")
def test_the_steps_before_the_end_are_kept_however_a_process_ends(tmp_path, script, trace_record):
    recorded = trace_record("--", *script(ENDINGS))
    assert (recorded.status, recorded.out.split()) == (0, ["1", "4", "-9"])
    assert "RuntimeError: in the training" in recorded.err
    for name in ("run.trace", "run-2.trace", "run-3.trace"):
        trace = open_trace(tmp_path / name)
        assert trace.n_steps >= 1
        assert f"optconform: recorded {name}: {trace.n_steps} steps of torch.optim.adamw:AdamW" in recorded.err


def test_the_model_is_found_behind_its_wrappers():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))

    model, other = Model(), torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapped = torch.nn.DataParallel(torch.compile(model, backend="eager"))
    assert wrapped.module._orig_mod is model
    assert model_of(optimizer) is model
    assert model_of(torch.optim.SGD([*other.parameters(), model.layers[0].weight], lr=0.1)) is other
    assert model_of(torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)) is None
