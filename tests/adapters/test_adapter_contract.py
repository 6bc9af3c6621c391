"""What every adapter promises, asked of every framework, path and dtype."""

import copy
from dataclasses import dataclass, field

import numpy as np
import pytest

from optconform.adapters.arrays import HOST_DTYPES, host_copies
from optconform.adapters.errors import MissingDevice, UnknownOption
from optconform.adapters.frameworks import FRAMEWORKS, load_adapter, missing_imports
from optconform.adapters.protocol import MissingGradient
from optconform.adapters.targets import load_target

LR = 0.05
WD = 0.5


@dataclass(frozen=True)
class Case:
    """One target on one path."""

    framework: str
    spec: str
    path: str
    decoupled: bool = True
    count_matters: bool = True
    """Whether the step depends on how many steps went before, as Adam's bias correction does."""
    set: dict = field(default_factory=dict)
    buffer: str = "momentum"
    """Slot of SGD's momentum. Keras keeps it with the sign turned, so under its own name."""

    @property
    def slots(self):
        return ("m", "v") if self.count_matters else (self.buffer,)

    def __str__(self):
        return f"{self.spec}-{self.path}"


CASES = [
    Case("numpy", "optconform.adapters.numpy_optimizers:AdamW", "default"),
    Case("numpy", "optconform.adapters.numpy_optimizers:SGDW", "default", count_matters=False),
    *(Case("torch", "torch.optim:AdamW", path) for path in ("default", "loop", "foreach", "fused", "tensor-lr")),
    Case("torch", "torch.optim:SGD", "default", decoupled=False, count_matters=False, set={"momentum": 0.9}),
    *(Case("tensorflow", "keras.optimizers:AdamW", path) for path in ("eager", "function", "compiled")),
    Case("tensorflow", "keras.optimizers:SGD", "eager", count_matters=False, set={"momentum": 0.9}, buffer="momentums"),
    Case("tensorflow", "keras.optimizers:Nadam", "eager"),
    *(Case("jax", "optax:adamw", path) for path in ("eager", "compiled")),
    *(
        Case("jax", "optconform.adapters.optax_chains:sgdw", path, count_matters=False)
        for path in ("eager", "compiled")
    ),
    Case("jax", "optconform.adapters.optax_chains:adam_l2", "compiled", decoupled=False),
]


def marked(cases):
    return [pytest.param(case, marks=getattr(pytest.mark, case.framework), id=str(case)) for case in cases]


@pytest.fixture(params=marked(CASES))
def case(request):
    if missing_imports(FRAMEWORKS[request.param.framework]):
        pytest.skip(f"{request.param.framework} is not installed")
    return request.param


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return request.param


@pytest.fixture
def build(case, parameters):
    """Build the case's target; keywords override hyperparameters, parameters, dtype and device."""
    target = load_target(case.spec)
    adapter = load_adapter(target.framework)

    def make(dtype="float64", given=None, device="cpu", path=case.path, **hyperparameters):
        wanted = {"lr": LR, "weight_decay": WD, **case.set, **hyperparameters}
        return adapter.build(
            target, wanted, parameters if given is None else given, dtype=dtype, device=device, path=path
        )

    return make


def identical(left, right):
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and np.array_equal(left[name], right[name]) for name in left
    )


def run(optimizer, gradients, lr=LR):
    for step in gradients:
        optimizer.step(step, lr)
    return optimizer.read_parameters()


def test_adapter_describes_itself(case):
    adapter = load_adapter(case.framework)
    assert adapter.framework == case.framework
    assert case.path in adapter.paths
    assert set(adapter.compiled_paths) < set(adapter.paths)
    assert adapter.paths[0] not in adapter.compiled_paths
    assert adapter.devices()[0] == "cpu"
    assert adapter.versions()["numpy"] == np.__version__
    assert all(version[0].isdigit() for version in adapter.versions().values())


def test_parameters_read_back_as_they_went_in(build, dtype, parameters):
    found = build(dtype).read_parameters()
    assert identical(found, {name: value.astype(dtype) for name, value in parameters.items()})
    assert found["scale"].shape == ()


def test_step_moves_every_parameter_and_keeps_shape_and_dtype(build, dtype, parameters, gradients):
    found = run(build(dtype), gradients)
    for name, before in parameters.items():
        assert found[name].shape == before.shape
        assert found[name].dtype == dtype
        assert np.all(found[name] != before)


def test_all_paths_agree_with_the_first(case, build, dtype, gradients):
    first = run(build(dtype, path=None), gradients)
    for name, value in run(build(dtype), gradients).items():
        # Bounded by six steps of a handful of roundings; a path that took another rule is 1e-3 away and more.
        np.testing.assert_allclose(value, first[name], rtol=64 * np.finfo(dtype).eps)


def test_read_parameters_returns_only_what_is_asked_for(build):
    optimizer = build()
    assert list(optimizer.read_parameters(["b"])) == ["b"]
    assert optimizer.read_parameters([]) == {}
    with pytest.raises(KeyError, match="no parameter is called 'absent'"):
        optimizer.read_parameters(["absent"])


def test_results_are_copies(build, gradients):
    optimizer = build()
    optimizer.step(gradients[0], LR)
    before = optimizer.read_parameters()
    kept = copy.deepcopy(before)
    optimizer.step(gradients[1], LR)
    assert identical(before, kept)
    for value in (*optimizer.read_parameters().values(), *optimizer.read_state().get("m", {}).values()):
        value[...] = 7.0
    assert not any(np.any(value == 7.0) for value in optimizer.read_parameters().values())
    assert not any(np.any(value == 7.0) for value in optimizer.read_state().get("m", {}).values())


def test_callers_arrays_are_neither_changed_nor_kept(build, parameters, gradients):
    given = copy.deepcopy(parameters)
    optimizer = build(given=given)
    fed = copy.deepcopy(gradients[0])
    optimizer.step(fed, LR)
    assert all(np.array_equal(given[name], parameters[name]) for name in given)
    assert all(np.array_equal(fed[name], gradients[0][name]) for name in fed)
    for array in (*given.values(), *fed.values()):
        array[...] = np.nan
    assert all(np.all(np.isfinite(value)) for value in run(optimizer, gradients[1:2]).values())


def test_step_uses_the_learning_rate_it_is_given(build, gradients):
    optimizer = build(lr=123.0)
    start = optimizer.snapshot()
    origin = optimizer.read_parameters()
    full = {name: value - origin[name] for name, value in run(optimizer, gradients[:1], LR).items()}
    optimizer.restore(start)
    half = {name: value - origin[name] for name, value in run(optimizer, gradients[:1], LR / 2).items()}
    for name in full:  # exact up to the rounding of parameters of magnitude 3
        np.testing.assert_allclose(half[name], full[name] / 2, rtol=0, atol=16 * np.finfo(float).eps)


def test_learning_rate_follows_every_step(build, gradients):
    optimizer = build()
    for step, lr in zip(gradients, (0.05, 0.0, 0.02, 0.0, 0.05, 0.01), strict=True):
        before = optimizer.read_parameters()
        optimizer.step(step, lr)
        moved = not identical(before, optimizer.read_parameters())
        # Keras's SGD keeps its learning rate inside the momentum and coasts at zero.
        coasts = "SGD" in type(getattr(optimizer, "optimizer", None)).__name__ and optimizer.held.get("momentum")
        assert moved == (lr > 0) or (coasts and moved)


def test_held_hyperparameters_bear_canonical_names(case, build):
    held = build(**({"beta2": 0.97} if case.count_matters else {})).held
    assert held["lr"] == pytest.approx(LR)
    assert held["weight_decay"] == WD
    if case.count_matters:
        assert (held["beta1"], held["beta2"]) == (0.9, 0.97)
        assert held["eps"] in (1e-8, 1e-7)
    else:
        assert held["momentum"] == 0.9


def test_state_bears_canonical_names(case, build, gradients, parameters):
    optimizer = build()
    run(optimizer, gradients[:1])
    state = optimizer.read_state()
    for slot in case.slots:
        assert {name: value.shape for name, value in state[slot].items()} == {
            name: value.shape for name, value in parameters.items()
        }
    if case.decoupled and case.count_matters:
        rounded = {cast.hyperparameter for cast in optimizer.casts if cast.use == "everywhere"}
        beta1, beta2 = (np.float32(b) if n in rounded else b for n, b in (("beta1", 0.9), ("beta2", 0.999)))
        for name, gradient in gradients[0].items():
            np.testing.assert_allclose(state["m"][name], (1 - float(beta1)) * gradient, rtol=1e-12)
            np.testing.assert_allclose(state["v"][name], (1 - float(beta2)) * gradient**2, rtol=1e-12)


def test_restored_run_is_the_uninterrupted_run(build, dtype, gradients):
    optimizer = build(dtype)
    run(optimizer, gradients[:2])
    middle = optimizer.snapshot()
    expected = run(optimizer, gradients[2:])
    state = optimizer.read_state()
    for _ in range(2):  # a snapshot stays valid
        optimizer.restore(middle)
        assert identical(run(optimizer, gradients[2:]), expected)
        assert all(identical(state[slot], arrays) for slot, arrays in optimizer.read_state().items())


def test_snapshot_before_the_first_step_restores_a_new_optimizer(build, gradients):
    optimizer = build()
    start = optimizer.snapshot()
    expected = run(optimizer, gradients)
    optimizer.restore(start)
    assert identical(run(optimizer, gradients), expected)


def test_snapshot_restores_into_another_instance(build, dtype, gradients):
    first = build(dtype)
    run(first, gradients[:3])
    middle = first.snapshot()
    other = build(dtype, given={name: np.zeros_like(value) for name, value in first.read_parameters().items()})
    run(other, gradients[:1])
    other.restore(middle)
    assert identical(run(other, gradients[3:]), run(first, gradients[3:]))


def test_snapshot_carries_no_weight_decay(case, build, gradients):
    decaying, plain = build(), build(weight_decay=0.0)
    run(decaying, gradients[:3])
    theta = decaying.read_parameters()
    plain.restore(decaying.snapshot())
    with_decay, without = run(decaying, gradients[3:4]), run(plain, gradients[3:4])
    for name, value in theta.items():
        displacement = with_decay[name] - without[name]
        if case.decoupled:
            # lr itself passes through float32 in Keras: 6e-8 relative.
            np.testing.assert_allclose(displacement, -LR * WD * value, rtol=1e-7)
        else:
            assert np.all(displacement != 0)


def test_parameter_without_gradient_follows_the_declared_convention(build, gradients):
    optimizer, other = build(), build()
    convention = optimizer.missing_gradient
    run(optimizer, gradients[:1])
    before, state = optimizer.read_parameters(), optimizer.read_state()
    run(optimizer, [{**gradients[1], "b": None}])
    after = optimizer.read_parameters()
    assert np.all(after["w"] != before["w"])
    if convention is MissingGradient.ZERO:
        zeros = [gradients[0], {**gradients[1], "b": np.zeros(2)}]
        assert identical(run(other, zeros), after)
        return
    assert np.array_equal(after["b"], before["b"])
    for slot, arrays in optimizer.read_state().items():
        assert np.array_equal(arrays["b"], state[slot]["b"])
    # The same parameter again, in a run that never had the step without its gradient.
    run(other, gradients[:1])
    same = np.array_equal(run(optimizer, gradients[2:3])["b"], run(other, gradients[2:3])["b"])
    counts = "m" in state  # only a bias correction shows the count
    assert same == (convention is MissingGradient.SKIPPED or not counts)


def test_step_without_any_gradient(build, gradients):
    optimizer, other = build(), build()
    run(optimizer, gradients[:1])
    run(other, gradients[:1])
    nothing = dict.fromkeys(gradients[0])
    if optimizer.missing_gradient is MissingGradient.ZERO:
        zeros = {name: np.zeros_like(value) for name, value in gradients[0].items()}
        assert identical(run(optimizer, [nothing, gradients[1]]), run(other, [zeros, gradients[1]]))
    else:
        assert identical(run(optimizer, [nothing, gradients[1]]), run(other, [gradients[1]]))


def test_first_step_without_any_gradient(build, gradients):
    optimizer = build()
    run(optimizer, [dict.fromkeys(gradients[0]), gradients[0]])
    assert all(np.all(np.isfinite(value)) for value in optimizer.read_parameters().values())


def test_names_with_any_characters(case, build, gradients, parameters):
    names = {"w": "block/0.w:\x1b[31m\n", "b": "block_0.w:\x1b[31m\n", "scale": "../ω∑ "}
    renamed = build(given={names[name]: value for name, value in parameters.items()})
    plain = build()
    found = run(renamed, [{names[name]: value for name, value in step.items()} for step in gradients])
    expected = run(plain, gradients)
    assert all(np.array_equal(found[names[name]], value) for name, value in expected.items())
    assert set(renamed.read_state()[case.slots[0]]) == set(names.values())


def test_many_parameters(case, build):
    # Keras takes 17 s to trace and 45 s to compile 500 parameters, so its graphs get fewer.
    count = 40 if case.path in ("function", "compiled") else 500
    given = {f"p{number}": np.full((2,), 1.0 + number) for number in range(count)}
    optimizer = build(given=given)
    optimizer.step({name: np.ones(2) for name in given}, LR)
    found = optimizer.read_parameters()
    assert set(found) == set(given)
    assert all(np.all(found[name] < given[name]) for name in given)


def test_gradients_must_fit_the_parameters(build, gradients):
    optimizer = build()
    with pytest.raises(
        ValueError, match=r"gradient of 'w' has shape \(3,\), but should have the parameter's, \(2, 3\)"
    ):
        optimizer.step({**gradients[0], "w": np.ones(3)}, LR)
    with pytest.raises(ValueError, match="missing: 'w', unknown: 'v'"):
        optimizer.step({"v": None, "b": None, "scale": None}, LR)


@pytest.mark.parametrize("dtype", HOST_DTYPES)
def test_state_has_canonical_names_and_shapes_in_every_dtype(case, build, dtype, parameters, gradients):
    optimizer = build(dtype)
    run(optimizer, gradients[:1])
    state = optimizer.read_state()
    for slot in case.slots:
        assert {name: value.shape for name, value in state[slot].items()} == {
            name: value.shape for name, value in parameters.items()
        }
        assert {value.dtype.name for value in state[slot].values()} == {dtype}


@pytest.mark.parametrize("dtype", HOST_DTYPES)
def test_parameters_and_gradients_are_rounded_on_the_way_in(case, build, dtype, parameters):
    """Fed with values that no dtype here holds, each adapter does what it does with the rounded ones."""
    third = {name: np.asarray(value / 3) for name, value in parameters.items()}
    held = host_copies(third, dtype)
    # At default values 16 bits can make NaN of everything, which equals nothing.
    options = {"eps": 1e-3, "beta2": 0.75} if case.count_matters else {}
    raw, exact = build(dtype, given=third, **options), build(dtype, given=held, **options)
    assert identical(raw.read_parameters(), held)
    assert identical(run(raw, [third]), run(exact, [held]))
    slot = case.slots[0]
    assert identical(raw.read_state()[slot], exact.read_state()[slot])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_values_beyond_the_range_become_infinite_without_a_warning(build, dtype, parameters):
    optimizer = build(dtype, given={**parameters, "b": np.array([1e300, 1.0])})
    assert optimizer.read_parameters()["b"].tolist() == [np.inf, 1.0]


def test_momentum_is_the_buffer_of_the_reference(case, build, gradients):
    """b = mu*b + g, the sign as it is: what a replay that takes the optimizer's own buffer relies on."""
    optimizer = build(weight_decay=0.0)
    run(optimizer, gradients)
    state = optimizer.read_state()
    assert ("momentum" in state) is (case.slots == ("momentum",))
    for name, found in state.get("momentum", {}).items():
        buffer = np.zeros_like(found)
        for step in gradients:
            buffer = 0.9 * buffer + step[name]
        np.testing.assert_allclose(found, buffer, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bit_parameters_stay_sixteen_bit(build, parameters, gradients, dtype):
    # In 16 bits the default eps of 1e-8 may round to 0 and beta2 of 0.999 to 1: no fault of the adapter's.
    optimizer = build(dtype, **({"eps": 1e-3, "beta2": 0.75} if "eps" in build().held else {}))
    found = run(optimizer, gradients[:2])
    assert all(value.dtype.name == dtype and value.shape == parameters[name].shape for name, value in found.items())
    assert all(np.all(np.isfinite(value.astype(np.float64))) for value in found.values())
    middle = optimizer.snapshot()
    expected = run(optimizer, gradients[2:])
    optimizer.restore(middle)
    assert identical(run(optimizer, gradients[2:]), expected)


def test_unknown_option_names_those_there_are(case, build):
    with pytest.raises(UnknownOption) as caught:
        build(weigth_decay=0.1)
    message = str(caught.value)
    assert case.spec in message
    assert "'weigth_decay'" in message
    assert "Did you mean 'weight_decay'?" in message


def test_unknown_path_names_those_there_are(case, build):
    with pytest.raises(UnknownOption, match=f"{case.framework} has no path 'sideways'; expected .*{case.path}"):
        build(path="sideways")


def test_unsupported_dtype_names_those_there_are(build):
    with pytest.raises(ValueError, match="dtype='int8' is not supported; use one of float64"):
        build("int8")


@pytest.mark.parametrize("device", ["gpu:7", "cuda:7", "tpu", "cpu:1"])
def test_missing_device_names_those_there_are(case, build, device):
    with pytest.raises(MissingDevice, match=f"{device}.*") as caught:
        build(device=device)
    assert "cpu" in str(caught.value).partition(device)[2]
    assert case.framework in str(caught.value)
