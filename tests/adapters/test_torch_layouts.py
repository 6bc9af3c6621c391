"""Parameter groups, dtypes and exclusion from decay in the PyTorch adapter, against plain use of torch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from optconform.adapters.errors import BuildFailed, NotSupported  # noqa: E402
from optconform.adapters.protocol import PLAIN, Layout  # noqa: E402
from optconform.adapters.pytorch import TorchAdapter  # noqa: E402
from optconform.adapters.targets import load_target, target_from_object  # noqa: E402

pytestmark = pytest.mark.torch

LR = 0.05
GROUPS = Layout(groups=(("scale", "w"), ("b",)))
BIAS_FREE = Layout(undecayed=frozenset({"b"}))


def build(target, parameters, layout=PLAIN, dtype="float64", path=None, **hyperparameters):
    found = load_target(target) if isinstance(target, str) else target_from_object(target)
    wanted = {"lr": LR, "weight_decay": 0.5, **hyperparameters}
    return TorchAdapter().build(found, wanted, parameters, dtype=dtype, path=path, layout=layout)


def run(optimizer, gradients):
    for step in gradients:
        optimizer.step(step, LR)
    return optimizer.read_parameters()


def assert_identical(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype
        np.testing.assert_array_equal(left[name], right[name])


class ListsOnly(torch.optim.SGD):
    """Refuses parameter groups, as LBFGS does."""

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        params = list(params)
        if any(isinstance(entry, dict) for entry in params):
            raise ValueError("no per-parameter options")
        super().__init__(params, lr=lr, weight_decay=weight_decay)


class FirstGroupOnly(torch.optim.Optimizer):
    """Reads its options from the first group, for all groups: a fault."""

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        first = self.param_groups[0]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(1 - first["lr"] * first["weight_decay"])


class NoGroups:
    """Written by hand: keeps whatever it is given."""

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        self.params = params
        self.lr = lr
        self.weight_decay = weight_decay

    @torch.no_grad()
    def step(self):
        for parameter in self.params:
            parameter.mul_(1 - self.lr * self.weight_decay)


def without_decay_on_vectors(params, lr=0.1, weight_decay=0.0):
    """Split by number of dimensions, as training scripts do."""
    params = list(params)
    matrices = [parameter for parameter in params if parameter.ndim > 1]
    others = [parameter for parameter in params if parameter.ndim <= 1]
    groups = [{"params": others, "weight_decay": 0.0}, {"params": matrices}]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)


class OwnName(torch.optim.Optimizer):
    """Calls its option one name and the entry of its groups another."""

    def __init__(self, params, lr=0.1, wd=0.0):
        super().__init__(params, {"lr": lr, "weight_decay_rate": wd})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(1 - group["lr"] * group["weight_decay_rate"])


@pytest.mark.parametrize("path", [None, "loop", "foreach", "fused"])
@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_groups_are_param_groups_in_that_order(name, path, parameters, gradients):
    grouped = build(f"torch.optim:{name}", parameters, GROUPS, path=path)
    assert [len(group["params"]) for group in grouped.optimizer.param_groups] == [2, 1]
    shapes = [tuple(parameter.shape) for group in grouped.optimizer.param_groups for parameter in group["params"]]
    assert shapes == [(), (2, 3), (2,)]
    assert_identical(run(grouped, gradients), run(build(f"torch.optim:{name}", parameters, path=path), gradients))


def test_excluded_parameters_walk_the_path_without_decay(parameters, gradients):
    for layout in (BIAS_FREE, Layout(groups=(("b", "w"), ("scale",)), undecayed=frozenset({"b"}))):
        found = run(build("torch.optim:AdamW", parameters, layout), gradients)
        decayed = run(build("torch.optim:AdamW", parameters), gradients)
        free = run(build("torch.optim:AdamW", parameters, weight_decay=0.0), gradients)
        assert_identical(found, {**decayed, "b": free["b"]})


def test_excluded_parameters_can_be_read_back(parameters):
    excluding = build("torch.optim:AdamW", parameters, BIAS_FREE)
    assert excluding.excluded == {"b"}
    assert excluding.held["weight_decay"] == 0.5
    assert build("torch.optim:AdamW", parameters, GROUPS).excluded == set()
    assert build("torch.optim:AdamW", parameters, weight_decay=0.0).excluded == set()
    assert build("torch.optim:AdamW", parameters, Layout(undecayed=frozenset(parameters))).excluded == set()


def test_exclusion_by_the_target_itself_can_be_read_back(parameters):
    optimizer = build(without_decay_on_vectors, parameters)
    assert optimizer.excluded == {"b", "scale"}
    assert optimizer.held["weight_decay"] == 0.5


def test_exclusion_uses_the_name_that_the_groups_use(parameters, gradients):
    found = run(build(OwnName, parameters, BIAS_FREE), gradients[:1])
    np.testing.assert_array_equal(found["b"], parameters["b"])
    assert np.all(found["w"] != parameters["w"])


def test_exclusion_without_an_option_for_decay(parameters):
    class Plain(torch.optim.Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        def step(self, closure=None): ...

    target = target_from_object(Plain)
    with pytest.raises(NotSupported, match="keeps no weight decay in its parameter groups"):
        TorchAdapter().build(target, {"lr": LR}, parameters, layout=BIAS_FREE)


@pytest.mark.parametrize(
    ("target", "message"),
    [(ListsOnly, "no per-parameter options"), (NoGroups, "does not take parameter groups: its param_groups hold 0 of")],
)
def test_target_that_takes_no_groups(target, message, parameters, gradients):
    with pytest.raises(NotSupported, match=message):
        build(target, parameters, GROUPS)
    run(build(target, parameters), gradients[:1])


def test_constructor_that_fails_anyway_is_not_blamed_on_the_groups(parameters):
    with pytest.raises(BuildFailed, match="Invalid weight_decay"):
        build("torch.optim:AdamW", parameters, GROUPS, weight_decay=-1.0)


def test_group_that_is_not_honoured_shows(parameters, gradients):
    found = run(build(FirstGroupOnly, parameters, BIAS_FREE), gradients[:1])
    assert np.all(found["b"] != parameters["b"])


@pytest.mark.parametrize("layout", [PLAIN, GROUPS])
def test_a_parameter_keeps_its_own_dtype(layout, parameters, gradients):
    mixed = Layout(groups=layout.groups, dtypes={"b": "float32", "scale": "bfloat16"})
    optimizer = build("torch.optim:AdamW", parameters, mixed)
    found = run(optimizer, gradients)
    state = optimizer.read_state()["m"]
    for name, dtype in {"w": "float64", "b": "float32", "scale": "bfloat16"}.items():
        alone = run(build("torch.optim:AdamW", parameters, dtype=dtype), gradients)
        assert found[name].dtype.name == state[name].dtype.name == dtype
        assert optimizer.gradients_left()[name].dtype.name == dtype
        np.testing.assert_array_equal(found[name], alone[name])


def test_restored_run_over_groups_is_the_uninterrupted_run(parameters, gradients):
    layout = Layout(groups=GROUPS.groups, undecayed=frozenset({"w"}), dtypes={"b": "float32"})
    optimizer = build("torch.optim:AdamW", parameters, layout)
    run(optimizer, gradients[:3])
    middle = optimizer.snapshot()
    expected = run(optimizer, gradients[3:])
    other = build("torch.optim:AdamW", parameters, layout)
    for one in (optimizer, other):
        one.restore(middle)
        assert_identical(run(one, gradients[3:]), expected)


def test_changed_decay_acts_as_if_built_in(parameters, gradients):
    for layout in (PLAIN, GROUPS, BIAS_FREE):
        changed = build("torch.optim:AdamW", parameters, layout)
        changed.set_weight_decay(0.0)
        changed.set_weight_decay(0.25)
        built_so = build("torch.optim:AdamW", parameters, layout, weight_decay=0.25)
        assert_identical(run(changed, gradients), run(built_so, gradients))


def test_decay_held_as_a_tensor_is_filled(parameters):
    def factory(params, lr=0.1, weight_decay=0.0):
        return torch.optim.SGD(params, lr=lr, weight_decay=torch.tensor(weight_decay))

    optimizer = build(factory, parameters)
    optimizer.set_weight_decay(0.25)
    assert optimizer.optimizer.param_groups[0]["weight_decay"].item() == 0.25


def test_decay_that_is_nowhere_cannot_be_changed(parameters):
    class Hidden(torch.optim.Optimizer):
        def __init__(self, params, lr=0.1, weight_decay=0.0):
            super().__init__(params, {"lr": lr})

        def step(self, closure=None): ...

    with pytest.raises(NotSupported, match="holds no weight decay in its parameter groups"):
        build(Hidden, parameters).set_weight_decay(0.25)


def test_accumulation_is_passed_on_where_there_is_an_option(parameters):
    class Accumulates(torch.optim.SGD):
        def __init__(self, params, lr=0.1, weight_decay=0.0, accumulate=1):
            super().__init__(params, lr=lr, weight_decay=weight_decay)
            self.accumulate = accumulate

    assert build(Accumulates, parameters, Layout(accumulate=3)).optimizer.accumulate == 3
    with pytest.raises(NotSupported, match=r"torch.optim:AdamW has no option that accumulates gradients"):
        build("torch.optim:AdamW", parameters, Layout(accumulate=3))


def test_parameter_in_no_group(parameters):
    with pytest.raises(ValueError, match="in no group: 'scale'"):
        build("torch.optim:AdamW", parameters, Layout(groups=(("w",), ("b",))))


def test_missing_option_is_named(parameters):
    class Demands(torch.optim.SGD):
        def __init__(self, params, num_iterations, lr=0.1, weight_decay=0.0):
            super().__init__(params, lr=lr, weight_decay=weight_decay)

    with pytest.raises(BuildFailed, match=r"without a default and not given: num_iterations; use --set NAME=VALUE"):
        build(Demands, parameters)
    build(Demands, parameters, num_iterations=10)


def test_parameter_groups_that_are_none(parameters):
    def odd(params, lr=0.1, weight_decay=0.0):
        optimizer = torch.optim.SGD(params, lr=lr, weight_decay=weight_decay)
        optimizer.param_groups = [1.0]
        return optimizer

    with pytest.raises(BuildFailed, match="reading its options raised AttributeError"):
        build(odd, parameters)
