"""Keras on its JAX and PyTorch backends, each in a process of its own, against plain use of Keras there."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from optconform.adapters.execution import environment_of, runtime_named, runtime_present
from optconform.gpu_ci.case_list import declared_cases

pytestmark = pytest.mark.tensorflow

COMMON = """
import json, sys
import numpy as np
from optconform.adapters.errors import MissingDevice, MissingFramework, NotSupported
from optconform.adapters.execution import Feed, Opening, load_runtime
from optconform.adapters.protocol import SparseRows
from optconform.adapters.targets import load_target, target_from_object

NAME = sys.argv[1]
runtime = load_runtime(NAME)
import keras

random = np.random.default_rng(5)
PARAMETERS = {"w": random.normal(size=(3, 2)), "b": random.normal(size=(3, 2))}
FEEDS = [Feed({k: random.normal(size=v.shape) for k, v in PARAMETERS.items()}, 0.05 / n) for n in range(1, 6)]
FEEDS[2] = Feed({**FEEDS[2].gradients, "b": None}, 0.02)
OPTIONS = {"lr": 0.05, "weight_decay": 0.25}

def open_(execution, target, dtype="float32", device="cpu", **options):
    found = load_target(target) if isinstance(target, str) else target_from_object(target, "tensorflow")
    return runtime.executions[execution].open(
        Opening(found, {**OPTIONS, **options}, PARAMETERS, FEEDS, dtype, device)
    )

def play(*args, **options):
    executed = open_(*args, **options)
    for feed in FEEDS:
        executed.step(feed.gradients, feed.lr)
    return executed

def shown(executed):
    proof = executed.proof()
    return {
        "proof": [proof.on_path, proof.on_device, proof.observed],
        "parameters": {k: [str(v.dtype), v.tolist()] for k, v in executed.read_parameters().items()},
        "state": {slot: sorted(each) for slot, each in executed.read_state().items()},
        "held": {k: executed.held[k] for k in ("lr", "weight_decay")},
        "casts": [[c.hyperparameter, c.dtype, c.use] for c in executed.casts],
        "scalars_in": executed.scalars_in,
    }

def plain(name, dtype):
    optimizer = getattr(keras.optimizers, name)(learning_rate=0.05, weight_decay=0.25)
    variables = {k: keras.Variable(v.astype(dtype), dtype=dtype) for k, v in PARAMETERS.items()}
    optimizer.build(list(variables.values()))
    for feed in FEEDS:
        optimizer.learning_rate = feed.lr
        there = {k: v for k, v in feed.gradients.items() if v is not None}
        grads = [keras.ops.convert_to_tensor(v.astype(dtype), dtype) for v in there.values()]
        optimizer.apply(grads, [variables[k] for k in there])
    return {k: [dtype, keras.ops.convert_to_numpy(v.value).tolist()] for k, v in variables.items()}

found = {"backend": keras.backend.backend(), "versions": runtime.versions(), "devices": runtime.devices()}
found |= {"described": runtime.describe("cpu"), "flags": runtime.flags(), "executions": list(runtime.executions)}
found["first"] = open_("eager", "keras.optimizers:SGD").proof().observed
try:
    open_("eager", "keras.optimizers:SGD", device="gpu:7")
except MissingDevice as error:
    found["missing"] = str(error)
rows = SparseRows(np.array([1]), np.ones((1, 2)), (3, 2))
found["sparse"] = []
for execution in runtime.executions:
    try:
        open_(execution, "keras.optimizers:SGD").step({"w": rows, "b": None}, 0.05)
    except NotSupported as error:
        found["sparse"].append(execution)
try:
    load_runtime("tensorflow")
except MissingFramework as error:
    found["tensorflow"] = str(error)
try:
    load_runtime("keras-torch" if NAME == "keras-jax" else "keras-jax")
except MissingFramework as error:
    found["other"] = str(error)
"""

ON_JAX = '''
import jax
for execution in ("eager", "stateless"):
    found[execution] = shown(play(execution, "keras.optimizers:AdamW"))
found["plain"] = plain("AdamW", "float32")
found["float64"] = shown(play("stateless", "keras.optimizers:AdamW", dtype="float64"))
with jax.enable_x64(True):
    found["plain float64"] = plain("SGD", "float64")
found["eager float64"] = shown(play("eager", "keras.optimizers:SGD", dtype="float64"))
found["bfloat16"] = shown(play("stateless", "keras.optimizers:SGD", dtype="bfloat16"))

class Jitted(keras.optimizers.SGD):
    """What says that it is eager, and has XLA run what it traced."""

    def _backend_update_step(self, grads, variables, learning_rate):
        def moved(given):
            with keras.StatelessScope(state_mapping=[(variable, variable.value) for variable in variables]) as scope:
                super(Jitted, self)._backend_update_step(given, variables, learning_rate)
            return [scope.get_current_value(variable) for variable in variables]
        for variable, value in zip(variables, jax.jit(moved)(grads)):
            variable.assign(value)

class Astray(keras.optimizers.SGD):
    """What keeps a part of its state on another device."""

    def build(self, variables):
        super().build(variables)
        self.strays = self.add_optimizer_variables(variables, "stray")
        for each in self.strays:
            each._value = jax.device_put(each.value, jax.devices("cpu")[1])

found["jitted"] = shown(play("eager", Jitted))
found["astray"] = shown(play("eager", Astray))
with jax.disable_jit():
    found["not jitted"] = shown(play("stateless", "keras.optimizers:SGD"))

executed = open_("stateless", "keras.optimizers:SGD")
for feed in FEEDS:
    executed.step(feed.gradients, feed.lr)
    jax.clear_caches()
found["retraced"] = shown(executed)
'''

ON_TORCH = '''
import torch
from keras.src.optimizers.base_optimizer import BaseOptimizer
found["eager"] = shown(play("eager", "keras.optimizers:AdamW"))
found["plain"] = plain("AdamW", "float32")
found["float64"] = shown(play("eager", "keras.optimizers:SGD", dtype="float64"))
found["plain float64"] = plain("SGD", "float64")
found["bfloat16"] = shown(play("eager", "keras.optimizers:AdamW", dtype="bfloat16"))
found["parallel"] = {
    name: play("eager", f"keras.optimizers:{name}").proof().on_path
    for name in ("Adadelta", "Adagrad", "Adam", "Adamax", "Lion", "Nadam", "RMSprop", "SGD")
}
found["lamb"] = shown(play("eager", "keras.optimizers:Lamb"))

def one_by_one(learning_rate=0.05, weight_decay=None):
    """What stands for a parallel implementation, and moves one parameter after the other."""
    optimizer = keras.optimizers.AdamW(learning_rate=learning_rate, weight_decay=weight_decay)
    optimizer._backend_update_step = lambda *given: BaseOptimizer._backend_update_step(optimizer, *given)
    return optimizer

class Astray(keras.optimizers.SGD):
    """What keeps a part of its state on another device."""

    def build(self, variables):
        super().build(variables)
        self.strays = self.add_optimizer_variables(variables, "stray")
        for each in self.strays:
            each._value = torch.empty(tuple(each.shape), device="meta")

found["one by one"] = shown(play("eager", one_by_one))
found["astray"] = open_("eager", Astray).proof().on_device
'''

LAST = """
found["loaded"] = [name for name in ("tensorflow", "optax") if name in sys.modules]
print(json.dumps(found))
"""


def found_on(backend, tmp_path_factory):
    """Run the script of a backend in a process of its own, and return what it found."""
    name = f"keras-{backend}"
    row = runtime_named(name)
    if not runtime_present(row):  # asked without importing any, which would take longer than the test
        pytest.skip(f"{' or '.join(row.imports)} is not installed")
    environment = {
        **os.environ,
        **environment_of(row),
        "KERAS_HOME": str(tmp_path_factory.mktemp("keras")),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    script = COMMON + {"jax": ON_JAX, "torch": ON_TORCH}[backend] + LAST
    done = subprocess.run(
        [sys.executable, "-c", script, name],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path_factory.mktemp("elsewhere"),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory):
    return found_on("jax", tmp_path_factory)


@pytest.fixture(scope="module")
def on_torch(tmp_path_factory):
    return found_on("torch", tmp_path_factory)


@pytest.fixture(params=[pytest.param("jax", marks=pytest.mark.jax), pytest.param("torch", marks=pytest.mark.torch)])
def on_either(request):
    return request.param, request.getfixturevalue(f"on_{request.param}")


def test_the_backend_is_the_one_asked_for_and_tensorflow_is_not_imported(on_either):
    backend, found = on_either
    assert found["backend"] == backend
    assert found["loaded"] == []
    assert {"keras", backend, "numpy"} <= found["versions"].keys()
    assert found["devices"][0] == "cpu"
    assert found["described"]["name"]
    assert found["flags"]["floatx"] == "float32"
    other = {"jax": "torch", "torch": "jax"}[backend]
    assert f"Keras runs on '{backend}' in this process, but the {other} adapter needs" in found["other"]
    assert found["tensorflow"].startswith(
        f"Keras runs on '{backend}' in this process, but the tensorflow adapter needs"
    )
    assert "has no device 'gpu:7'" in found["missing"]
    assert found["sparse"] == found["executions"] == {"jax": ["eager", "stateless"], "torch": ["eager"]}[backend]
    asked = {case.execution for case in declared_cases("gpu:0") if case.runtime == f"keras-{backend}"}
    assert asked == set(found["executions"]), "the gate asks for what is not there, or does not ask for all"


def test_eager_steps_prove_themselves_and_have_the_bits_of_plain_keras(on_either):
    _, found = on_either
    assert found["eager"]["proof"][:2] == [True, True], found["eager"]["proof"]
    assert found["eager"]["parameters"] == found["plain"]
    assert found["eager"]["state"] == {"m": ["b", "w"], "v": ["b", "w"]}
    assert found["eager"]["held"] == {"lr": pytest.approx(0.05, rel=1e-7), "weight_decay": 0.25}
    assert (found["eager"]["casts"], found["eager"]["scalars_in"]) == ([], None)
    assert "no step was made yet" in found["first"]


def test_float64_rounds_the_learning_rate_alone(on_either):
    backend, found = on_either
    assert found["float64"]["proof"][:2] == [True, True], found["float64"]["proof"]
    assert found["float64"]["casts"] == [["lr", "float32", "everywhere"]]
    played = found["eager float64" if backend == "jax" else "float64"]
    assert played["parameters"] == found["plain float64"]


def test_sixteen_bits_take_powers_in_their_own_format(on_either):
    _, found = on_either
    assert found["bfloat16"]["proof"][:2] == [True, True], found["bfloat16"]["proof"]
    assert found["bfloat16"]["scalars_in"] == "bfloat16"
    assert found["bfloat16"]["parameters"]["w"][0] == "bfloat16"


def test_variables_elsewhere_are_seen(on_either):
    backend, found = on_either
    if backend == "torch":
        assert not found["astray"]
    else:
        on_path, on_device, observed = found["astray"]["proof"]
        assert (on_path, on_device) == (True, False)
        assert "not on cpu: strays of b, strays of w" in observed


@pytest.mark.jax
def test_stateless_steps_are_traced_once_for_each_pattern_of_gradients(on_jax):
    on_path, on_device, observed = on_jax["stateless"]["proof"]
    assert (on_path, on_device) == (True, True), observed
    assert "5 steps by a jitted stateless_apply, for whose 2 pattern(s) of gradients" in observed
    assert "traced 3 times of 3 asked for" in observed
    for name, (dtype, values) in on_jax["stateless"]["parameters"].items():
        assert dtype == "float32"
        # XLA fuses products and sums, which then round once less than step by step.
        np.testing.assert_allclose(values, on_jax["plain"][name][1], rtol=1e-5)


@pytest.mark.jax
def test_what_was_jitted_is_not_eager_and_the_reverse(on_jax):
    assert not on_jax["jitted"]["proof"][0]
    assert "ran 0 times eagerly" in on_jax["jitted"]["proof"][2]
    assert not on_jax["not jitted"]["proof"][0]


@pytest.mark.jax
def test_steps_that_are_traced_anew_are_named(on_jax):
    assert not on_jax["retraced"]["proof"][0]
    assert "traced 9 times of 3 asked for" in on_jax["retraced"]["proof"][2]


@pytest.mark.torch
def test_every_parallel_implementation_moves_all_parameters_at_once(on_torch):
    assert set(on_torch["parallel"].values()) == {True}, on_torch["parallel"]
    assert "5 of 5 steps moved all parameters by _foreach_add_" in on_torch["eager"]["proof"][2]


@pytest.mark.torch
def test_where_keras_has_no_parallel_implementation_it_says_so(on_torch):
    on_path, _, observed = on_torch["lamb"]["proof"]
    assert on_path
    assert "Keras has no parallel implementation of it, update_step ran 9 times" in observed


@pytest.mark.torch
def test_a_parallel_implementation_that_moves_one_after_the_other_is_named(on_torch):
    on_path, _, observed = on_torch["one by one"]["proof"]
    assert not on_path
    assert "none of 5 steps moved all parameters by one _foreach_ operation, update_step ran 9 times" in observed
