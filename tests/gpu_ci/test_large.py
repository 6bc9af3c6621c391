"""The large case: what is sound conforms in every way of judging, what is not is found, and the JSON says it all."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest

from optconform.adapters.errors import MissingDevice, NotSupported, TargetError
from optconform.adapters.generated_gradients import generated_gradient, generated_parameters, in_blocks
from optconform.conformance.traces import TraceError
from optconform.gpu_ci import large, large_judging

SIZE, STEPS, SAMPLE = 600, 3, 100
WAYS = tuple(large.WAYS)
ON_ONE_THREAD = {"engine": "numpy", "threads": 1}


class HostLarge:
    """`LargeSteps` in NumPy: AdamW in float32, with a fault where one is asked for."""

    fault = staticmethod(lambda index, theta: theta)
    coupled = False

    def __init__(self, problem):
        self.problem, self.calls = problem, []
        self.begin()

    def begin(self):
        self.calls.append("begin")
        make = partial(generated_parameters, dtype="float32", seed=self.problem.seed)
        self.theta = in_blocks(make, 0, self.problem.elements, "float32")
        self.m, self.v, self.index = np.zeros_like(self.theta), np.zeros_like(self.theta), 0

    def generate(self, index):
        make = partial(generated_gradient, step=index, dtype="float32", seed=self.problem.seed)
        self.grad = in_blocks(make, 0, self.problem.elements, "float32")

    def step(self, lr):
        f, self.index = np.float32, self.index + 1
        decay, grad = self.problem.weight_decay, self.grad
        if self.coupled:
            grad = grad + f(decay) * self.theta
        self.m = f(0.9) * self.m + f(0.1) * grad
        self.v = f(0.999) * self.v + f(0.001) * grad * grad
        c1, c2 = f(1 - 0.9**self.index), f(math.sqrt(1 - 0.999**self.index))
        kept = self.theta if self.coupled else self.theta * f(1 - lr * decay)
        self.theta = self.fault(self.index, kept - f(lr) * (self.m / c1) / (np.sqrt(self.v) / c2 + f(1e-8)))

    def wait(self):
        self.calls.append("wait")

    def parameters(self):
        return self.theta

    kept = parameters

    def gradient(self):
        return self.grad

    def placed(self, coordinates):
        return coordinates

    def take(self, array, where):
        return array[where].astype(np.float64)

    def lives_on(self):
        return ("cpu",)

    def to_host(self, array):
        return array

    on_device = to_host

    def program(self, function, *constants):
        return partial(function, *constants)

    def judging(self):
        return nullcontext()


@pytest.fixture
def run(monkeypatch):
    """Run the large case over `HostLarge`."""
    monkeypatch.setattr(large_judging, "BLOCK_ELEMENTS", 256)

    def ran(kind=HostLarge, ways=WAYS, **more):
        monkeypatch.setattr(large, "load_large", lambda framework, device, problem: kind(problem))
        return large.run_large(
            "numpy", "cpu", SIZE, STEPS, 5, sample=SAMPLE, ways=ways, threads=1, engine="numpy", **more
        )

    return ran


def faulty(at, by):
    """An optimizer that in step 2 leaves one element multiplied by `by`."""

    def fault(index, theta):
        if index == 2:
            theta = theta.copy()
            theta[at] *= np.float32(by)
        return theta

    return type("Faulty", (HostLarge,), {"fault": staticmethod(fault)})


def test_a_sound_optimizer_conforms_in_every_way(run):
    result = run()
    assert result.conforms
    on_device, on_host, full = (result.judged[way] for way in WAYS)
    assert on_device == on_host  # the same reference on the same numbers, through the follower and through the arrays
    assert 0.0 < on_host.bound_ratio <= full.bound_ratio <= 1.0
    assert on_host.rival_ratio > 1e3
    assert full.rival_ratio is None
    assert on_host.compared + on_host.undecidable == SAMPLE * STEPS
    assert full.compared + full.undecidable == SIZE * STEPS
    assert result.reference_apart == {"theta_ulp": 0.0, "bound_share": 0.0}


def test_one_wrong_element_is_found_where_it_is(run):
    coordinates = large.GeneratedTrace(SIZE, 5, STEPS).sampled(SAMPLE, 5).coordinates
    sampled, unsampled = int(coordinates[40]), next(at for at in range(300, SIZE) if at not in coordinates)
    seen = run(faulty(sampled, 1.001))
    assert not seen.conforms
    for way in WAYS:
        assert not seen.judged[way].conforms
        assert (seen.judged[way].step, seen.judged[way].element) == (2, sampled)
    unseen = run(faulty(unsampled, 1.001))
    assert [unseen.judged[way].conforms for way in WAYS] == [True, True, False]
    assert (unseen.judged["full"].step, unseen.judged["full"].element) == (2, unsampled)
    assert not unseen.conforms


def test_nan_does_not_conform(run):
    result = run(faulty(slice(None), math.nan))
    assert not any(each.conforms for each in result.judged.values())
    assert {each.bound_ratio for each in result.judged.values()} == {math.inf}
    json.dumps(result.to_json(), allow_nan=False)


def test_the_other_kind_of_decay_does_not_conform(run):
    result = run(type("Coupled", (HostLarge,), {"coupled": True}))
    assert not any(each.conforms for each in result.judged.values())
    assert min(each.bound_ratio for each in result.judged.values()) > 100


def test_another_decay_than_asked_for_does_not_conform(run, monkeypatch):
    monkeypatch.setattr(large, "WEIGHT_DECAY", 2e-2)
    assert not run().conforms


def test_nothing_judged_does_not_conform(run):
    result = run(ways=())
    assert not result.conforms
    assert result.reference_apart == {}
    assert result.seconds.keys() == {"generating", "bare"}


def test_json(run):
    result = run(rounds=2)
    document = json.loads(json.dumps(result.to_json()))
    assert document["conforms"] is True
    assert document["ratios"].keys() == document["judged"].keys() == set(WAYS)
    assert document["seconds"].keys() == {"generating", "bare", *WAYS}
    assert document["most_ratio"] == 1.5
    assert document["ratios"]["full"] == document["seconds"]["full"] / document["seconds"]["bare"]
    assert (document["elements"], document["steps"], document["sample"], document["seed"]) == (SIZE, STEPS, SAMPLE, 5)


def test_every_time_is_taken_between_two_waits_and_every_way_begins_anew(run):
    made = []

    class Kept(HostLarge):
        def __init__(self, problem):
            super().__init__(problem)
            made.append(self)

    run(Kept, ways=("full",))
    (only,) = made
    # What is made at first begins once; then, in each of two rounds, generating, the bare steps and judging. The bits
    # at last are of two more courses, of which nobody takes the time.
    assert only.calls[0] == "begin"
    rest = "".join(call[0] for call in only.calls[1:])
    assert rest == 2 * ("wbw" + "wbw" + "wbbw") + "bb"


def test_what_cannot_be_run_is_refused(run):
    with pytest.raises(ValueError, match="ways: 'half' is unknown to the large case; expected sample_on_device"):
        run(ways=("half",))
    with pytest.raises(ValueError, match="dtype: 'float16'"):
        run(dtype="float16")


def test_what_is_not_there_is_refused():
    with pytest.raises(TargetError, match="framework 'tensorflow' has no large case; expected one of torch, jax"):
        large.run_large("tensorflow", "cpu", 10)
    with pytest.raises(TraceError, match="SIZE 0"):
        large.run_large("torch", "cpu", 0)


@pytest.mark.torch
@pytest.mark.parametrize("staged", [False, True])
def test_torch(staged):
    torch = pytest.importorskip("torch")
    pytest.importorskip("array_api_compat")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        result = large.run_large("torch", "cpu", 3000, 2, 1, sample=500, staged=staged, **ON_ONE_THREAD)
    finally:
        torch.set_num_threads(threads)
    check(result)
    assert (result.platform, result.staged, result.lived_on) == ("torch-cpu", staged, ("cpu",))


@pytest.mark.jax
def test_jax():
    jax = pytest.importorskip("jax")
    pytest.importorskip("optax")
    ways = ("sample_on_device", "sample_on_host")
    result = large.run_large("jax", "cpu", 3000, 2, 1, sample=500, ways=ways, **ON_ONE_THREAD)
    check(result)
    assert (result.platform, result.lived_on) == ("xla-cpu", ("cpu",))
    assert not jax.config.jax_enable_x64
    with pytest.raises(NotSupported, match="stages no gradients"):
        large.run_large("jax", "cpu", 10, staged=True)


@pytest.mark.torch
def test_a_device_that_is_not_there():
    pytest.importorskip("torch")
    with pytest.raises(MissingDevice, match="gpu:99"):
        large.run_large("torch", "gpu:99", 10)


def check(result):
    assert result.conforms, result
    on_device, on_host = result.judged["sample_on_device"], result.judged["sample_on_host"]
    assert on_device.compared == on_host.compared
    assert (on_device.step, on_device.element) == (on_host.step, on_host.element)
    # The reference there is a few ulp of float64 away, the distance it is compared with some 2**28 of them.
    assert on_device.bound_ratio == pytest.approx(on_host.bound_ratio, rel=1e-6)
    assert all(each.bound_ratio >= on_host.bound_ratio * (1 - 1e-6) for each in result.judged.values())
    assert result.reference_apart["theta_ulp"] <= 5
    assert result.reference_apart["bound_share"] < 2.0**-46
