"""CUDA graphs over a stand-in for torch's CUDA layer, on the CPU: what is done in which order, and what it computes.

The stand-in records the operators of a capture, puts back what they wrote, as if none had run, and runs them again
in the same memory at every replay, unseen by dispatch modes.
"""

import importlib
from contextlib import contextmanager

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes  # noqa: E402

from optconform.adapters.errors import NotSupported, PathNotTaken  # noqa: E402
from optconform.adapters.execution import Opening  # noqa: E402
from optconform.adapters.protocol import SparseRows  # noqa: E402
from optconform.adapters.pytorch import TorchAdapter  # noqa: E402
from optconform.adapters.targets import load_target, target_from_object  # noqa: E402
from optconform.adapters.torch_cuda_graph import GraphWatch  # noqa: E402
from optconform.adapters.torch_execution import TorchRuntime  # noqa: E402

pytestmark = pytest.mark.torch


class Recorder(TorchDispatchMode):
    """Notes every operator with its arguments and results, and what the memory that it wrote to held before."""

    def __init__(self):
        super().__init__()
        self.calls, self.before = [], {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "profiler":
            return func(*args, **(kwargs or {}))
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                for tensor in value if isinstance(value, list | tuple) else [value]:
                    self.before.setdefault(id(tensor), (tensor, tensor.detach().clone()))
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result


class StandIn:
    """What is used of `torch.cuda`: streams, and graphs."""

    def __init__(self):
        self.events = []
        self.leaks = False

    def install(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("side", self.events))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("current", self.events))
        monkeypatch.setattr(torch.cuda, "stream", self.entered)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: Graph(self))
        monkeypatch.setattr(torch.cuda, "graph", self.captured)

    @contextmanager
    def entered(self, stream):
        self.events.append(f"on {stream.name}")
        yield
        self.events.append("back")

    @contextmanager
    def captured(self, graph, stream):
        self.events.append(f"capture on {stream.name}")
        recorder = Recorder()
        with recorder:
            yield
        with torch.no_grad():
            for tensor, value in recorder.before.values():
                tensor.copy_(value)
        graph.calls = recorder.calls
        self.events.append("captured")


class Stream:
    def __init__(self, name, events):
        self.name, self.events = name, events

    def wait_stream(self, other):
        self.events.append(f"{self.name} waits for {other.name}")


class Graph:
    def __init__(self, cuda):
        self.cuda, self.calls = cuda, []

    def replay(self):
        self.cuda.events.append("replay")
        torch.zeros(1).fill_(7)  # as torch does for its random generators
        if self.cuda.leaks:
            self.run()
        with _disable_current_modes():
            self.run()

    @torch.no_grad()
    def run(self):
        for func, args, kwargs, memory in self.calls:
            result = func(*args, **kwargs)
            pairs = zip(memory, result, strict=True) if isinstance(memory, list | tuple) else [(memory, result)]
            for old, new in pairs:
                if isinstance(old, torch.Tensor) and old is not new:
                    old.copy_(new)


@pytest.fixture
def cuda(monkeypatch):
    adam = importlib.import_module("torch.optim.adam")
    monkeypatch.setattr(adam, "_get_capturable_supported_devices", lambda **_: ["cpu"])
    stand_in = StandIn()
    stand_in.install(monkeypatch)
    return stand_in


@pytest.fixture
def begun(cuda, parameters, monkeypatch):
    """Return a capturable optimizer with a tensor learning rate, and what watches it."""

    def build(watched=True, target="torch.optim:AdamW"):
        found = load_target(target) if isinstance(target, str) else target_from_object(target)
        lr = torch.tensor(0.05, dtype=torch.float64)
        optimizer = TorchAdapter().build(found, {"lr": lr, "weight_decay": 0.1}, parameters, path="capturable")
        watch = GraphWatch(optimizer)
        if watched:
            plainly = optimizer.apply

            def apply():
                cuda.events.append("update")
                plainly()

            optimizer.apply = lambda: watch(apply)
        return optimizer, watch

    return build


def reached(optimizer):
    """Return the bits of parameters and state."""
    state = {f"{slot}/{name}": array for slot, each in optimizer.read_state().items() for name, array in each.items()}
    return {name: array.tobytes() for name, array in {**optimizer.read_parameters(), **state}.items()}


def test_warm_up_capture_and_replays_in_their_order(cuda, begun, feeds):
    optimizer, watch = begun()
    cuda.events.clear()
    for feed in feeds[:3]:
        optimizer.step(feed.gradients, feed.lr)
    assert cuda.events == [
        "side waits for current",
        "on side",
        *("update", "update", "update"),
        "back",
        "current waits for side",
        "capture on side",
        "update",
        "captured",
        *("replay", "replay"),
    ]
    assert watch.verdict() == (True, "2 updates were replays of one captured graph, after one that made the state")


def test_every_step_is_the_one_that_would_have_been_taken(begun, feeds):
    (replayed, watch), (plain, _) = begun(), begun(watched=False)
    for feed in feeds:
        replayed.step(feed.gradients, feed.lr)
        plain.step(feed.gradients, feed.lr)
        assert reached(replayed) == reached(plain)
    assert watch.verdict()[0]


def test_one_step_is_none_that_was_replayed(begun, feeds):
    optimizer, watch = begun()
    assert not watch.verdict()[0]
    optimizer.step(feeds[0].gradients, 0.05)
    assert watch.verdict() == (False, "no graph has been replayed in 1 updates; the first is not captured")


def test_replay_that_dispatches_is_none(cuda, begun, feeds):
    optimizer, watch = begun()
    cuda.leaks = True
    for feed in feeds[:2]:
        optimizer.step(feed.gradients, feed.lr)
    on_path, observed = watch.verdict()
    assert not on_path
    assert "while the graph was replayed, parameters were written by aten::addcdiv_, aten::mul_" in observed


def test_attributes_of_the_warm_up_are_put_back(begun, feeds):
    class Counting(torch.optim.AdamW):
        updates = 0

        def step(self, closure=None):
            super().step()
            self.updates += 1

    optimizer, _ = begun(target=Counting)
    optimizer.step(feeds[0].gradients, 0.05)
    assert optimizer.optimizer.updates == 2  # the first and the captured one


@pytest.mark.parametrize("first", [True, False])
def test_other_parameters_without_a_gradient_cannot_be_replayed(first, begun, feeds):
    optimizer, _ = begun()
    some = {**feeds[0].gradients, "b": None}
    steps = (some, feeds[1].gradients) if first else (feeds[1].gradients, some)
    optimizer.step(steps[0], 0.05)
    with pytest.raises(NotSupported, match=r"captured with the gradients of the first step, .* differs in 'b'"):
        optimizer.step(steps[1], 0.05)


def test_sparse_gradients_cannot_be_captured(begun):
    optimizer, _ = begun()
    rows = SparseRows(np.array([0]), np.ones((1, 3)), (2, 3))
    with pytest.raises(NotSupported, match="no sparse gradients"):
        optimizer.step({"w": rows, "b": None, "scale": None}, 0.05)


def test_through_the_runtime(cuda, parameters, feeds, monkeypatch):
    monkeypatch.setattr(TorchAdapter, "place", lambda self, device: "cpu:0")
    row = TorchRuntime().executions["cuda-graph"]

    def execute(target):
        executed = row.open(Opening(target_from_object(target), {"lr": 0.05}, parameters, feeds, "float32", "gpu"))
        for feed in feeds:
            executed.step(feed.gradients, feed.lr)
        return executed

    executed = execute(torch.optim.AdamW)
    proof = executed.proof()
    assert proof.on_path, proof.observed
    assert "on cpu, not on cpu:0" in proof.observed  # the GPU that was asked for
    assert executed.scalars_in == "float32"
    assert cuda.events.count("replay") == len(feeds) - 1

    class Numbers(torch.optim.AdamW):
        def __init__(self, params, lr=0.1, capturable=False):
            super().__init__(params, float(lr), capturable=capturable)

    with pytest.raises(PathNotTaken, match="the path 'cuda-graph': it turns a learning rate given as a tensor into"):
        execute(Numbers)
    with pytest.raises(PathNotTaken, match="there is no option 'capturable'"):
        execute(torch.optim.SGD)
