"""Every way in which PyTorch executes a step: the rule is the same, and who does not take it says so."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from optconform.adapters.errors import BuildFailed, NotSupported, PathNotTaken, StepFailed, UnknownOption  # noqa: E402
from optconform.adapters.protocol import Cast  # noqa: E402
from optconform.adapters.pytorch import TorchAdapter  # noqa: E402
from optconform.adapters.targets import load_target, target_from_object  # noqa: E402
from optconform.adapters.torch_paths import PATHS  # noqa: E402

pytestmark = pytest.mark.torch

LRS = (0.05, 0.02, 0.04, 0.01, 0.03, 0.015)
NAMES = (
    *("Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax"),
    *("ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"),
)
WITHOUT = {
    ("Adafactor", "fused"),
    ("Adafactor", "capturable"),
    ("Adafactor", "differentiable"),
    *((name, "fused") for name in ("Adadelta", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "ASGD")),
    *((name, "capturable") for name in ("SGD", "Adagrad")),
}
"""What torch.optim 2.13 has no option for."""


def build(target, parameters, path=None, dtype="float64", **hyperparameters):
    found = load_target(target) if isinstance(target, str) else target_from_object(target)
    wanted = {"lr": 0.05, **hyperparameters}
    return TorchAdapter().build(found, wanted, parameters, dtype=dtype, path=path)


def run(optimizer, gradients):
    for step, lr in zip(gradients, LRS, strict=True):
        optimizer.step(step, lr)
    return optimizer.read_parameters()


class Own(torch.optim.Optimizer):
    """Plain, without options for any path, but at ease with a learning rate that is a tensor."""

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * parameter.grad)


class Numbers(Own):
    """Makes a number of its learning rate."""

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, float(lr), weight_decay)


def swallows(params, lr=0.1, **kwargs):
    """Take any option, and pass it on to a class that has few."""
    return Own(params, lr, **kwargs)


class Faulty(torch.optim.AdamW):
    """Fails in every step of one implementation: a fault to be found, not a path to be skipped."""

    def step(self, closure=None):
        if self.param_groups[0]["foreach"]:
            raise RuntimeError("tensors of unequal number")
        return super().step(closure)


def test_paths_are_listed_and_compiled_ones_named():
    adapter = TorchAdapter()
    assert adapter.paths == tuple(PATHS)
    assert adapter.paths[0] == "default"
    assert adapter.compiled_paths == ("compiled",)


@pytest.mark.parametrize("path", [path for path, way in PATHS.items() if not way.compiled])
@pytest.mark.parametrize("name", NAMES)
def test_every_path_walks_the_same_way_or_is_refused(name, path, parameters, gradients):
    spec = f"torch.optim:{name}"
    if (name, path) in WITHOUT or path == "capturable":  # which is for accelerators
        with pytest.raises(PathNotTaken, match=f"{spec} does not take the path '{path}'"):
            build(spec, parameters, path)
        return
    optimizer = build(spec, parameters, path)
    found = run(optimizer, gradients)
    # Six steps of roundings: in float64, or of beta**t in float32, which cancels to 1e-5 of 1 - beta2**t at t = 1.
    tolerance = {None: 1e-13, "float32": 1e-4}[optimizer.scalars_in]
    for key, value in run(build(spec, parameters), gradients).items():
        np.testing.assert_allclose(found[key], value, rtol=tolerance)


@pytest.mark.parametrize("path", ["foreach", "fused", "capturable", "differentiable"])
def test_path_without_an_option_for_it(path, parameters):
    with pytest.raises(PathNotTaken, match=f"does not take the path '{path}': there is no option '{path}'") as caught:
        build(Own, parameters, path)
    # Skipped by who tries all paths; a wrong command to who asked for this one.
    assert isinstance(caught.value, NotSupported)
    assert isinstance(caught.value, UnknownOption)


def test_path_whose_option_the_constructor_refuses(parameters):
    with pytest.raises(PathNotTaken, match=r"does not take the path 'fused': .* unexpected keyword argument 'fused'"):
        build(swallows, parameters, "fused")
    with pytest.raises(BuildFailed, match="unexpected keyword argument 'sideways'"):
        build(swallows, parameters, "fused", sideways=1)


def test_path_that_the_device_refuses(parameters):
    with pytest.raises(
        PathNotTaken, match=r"the path 'capturable': step\(\) raised AssertionError: If capturable=True"
    ):
        build("torch.optim:AdamW", parameters, "capturable")


def test_implementation_that_fails_is_a_failed_step(parameters, gradients):
    with pytest.raises(StepFailed, match="tensors of unequal number"):
        build(Faulty, parameters, "foreach").step(gradients[0], 0.05)


def test_learning_rate_as_a_tensor(parameters, gradients):
    optimizer = build(Own, parameters, "tensor-lr", weight_decay=0.5)
    rate = optimizer.optimizer.param_groups[0]["lr"]
    assert (rate.dtype, rate.shape) == (torch.float64, ())
    found = run(optimizer, gradients)
    assert optimizer.optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == LRS[-1]
    for key, value in run(build(Own, parameters, weight_decay=0.5), gradients).items():
        np.testing.assert_allclose(found[key], value, rtol=1e-14)


@pytest.mark.parametrize(("dtype", "casts"), [("float64", ()), ("float32", ()), ("bfloat16", (Cast("lr", "float32"),))])
def test_learning_rate_as_a_tensor_has_the_precision_of_the_work(dtype, casts, parameters):
    assert build("torch.optim:SGD", parameters, "tensor-lr", dtype=dtype).casts == casts


def test_learning_rate_that_does_not_stay_a_tensor(parameters):
    with pytest.raises(PathNotTaken, match="turns a learning rate given as a tensor into a number"):
        build(Numbers, parameters, "tensor-lr")


def test_learning_rate_that_is_no_number(parameters):
    with pytest.raises(PathNotTaken, match="lr is None, but should be a number"):
        build("torch.optim:SGD", parameters, "tensor-lr", lr=None)


@pytest.fixture
def graphs(monkeypatch):
    """Let torch.compile trace as ever, but run what it traced uncompiled, which spares 17 s; collect the graphs."""
    compile_for_good = torch.compile
    traced = []

    def keep(graph, inputs):
        traced.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda step: compile_for_good(step, backend=keep))
    return traced


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it imports its compiler
def test_compiled_step_is_traced_and_not_again_for_every_learning_rate(graphs, parameters, gradients):
    optimizer = build("torch.optim:AdamW", parameters, "compiled", weight_decay=0.5)
    for step, lr in zip(gradients[:2], LRS, strict=False):
        optimizer.step(step, lr)
    assert graphs
    before = len(graphs)
    for step, lr in zip(gradients[2:], LRS[2:], strict=True):
        optimizer.step(step, lr)
    assert len(graphs) == before
    found = optimizer.read_parameters()
    for key, value in run(build("torch.optim:AdamW", parameters, weight_decay=0.5), gradients).items():
        np.testing.assert_allclose(found[key], value, rtol=1e-4)


def test_compiled_path_needs_a_learning_rate_that_stays_a_tensor(parameters):
    with pytest.raises(PathNotTaken, match="the path 'compiled': it turns a learning rate"):
        build(Numbers, parameters, "compiled")


def test_compiler_that_fails_is_no_failed_step(monkeypatch, parameters, gradients):
    from torch._dynamo.exc import TorchDynamoException

    def refuse(step):
        def compiled():
            raise TorchDynamoException("no C++ compiler")

        return compiled

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(NotSupported, match=r"torch.compile cannot compile the step: .*no C\+\+ compiler"):
        build(Own, parameters, "compiled").step(gradients[0], 0.05)


def test_path_of_a_target_without_an_option_for_the_learning_rate(parameters, gradients):
    def factory(params, foreach=None):
        return torch.optim.SGD(params, lr=0.1, foreach=foreach)

    run(build(factory, parameters, "loop"), gradients)
    with pytest.raises(PathNotTaken, match="there is no option for the learning rate"):
        build(factory, parameters, "tensor-lr")
