"""Process-wide state: what changes are seen, what sound optimizers do without being blamed."""

# ruff: noqa: NPY002 - the global generator is what is looked at

import locale
import os
import random
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from optconform.adapters import global_state
from optconform.adapters.frameworks import FRAMEWORKS, load_adapter, missing_imports
from optconform.adapters.global_state import ITEMS, changed, observe
from optconform.adapters.targets import load_target


def lines_after(change):
    before = observe()
    change()
    return changed(before, observe())


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """Undo what the tests change."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with np.errstate(), np.printoptions(), warnings.catch_warnings():
        python, shared = random.getstate(), np.random.get_state()
        place, limit = Path.cwd(), sys.getrecursionlimit()
        yield
        random.setstate(python)
        np.random.set_state(shared)
        os.chdir(place)
        sys.setrecursionlimit(limit)
        os.environ.pop("OPTCONFORM_TEST", None)


@pytest.mark.numpy
def test_nothing_has_changed():
    assert lines_after(lambda: None) == []
    assert len({item.name for item in ITEMS}) == len(ITEMS)


@pytest.mark.numpy
@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda: np.seterr(over="ignore", invalid="raise"), "NumPy error handling: over: 'warn' -> 'ignore'"),
        (lambda: np.set_printoptions(precision=3), "NumPy print option: precision: 8 -> 3"),
        (lambda: np.random.seed(3), "random state of NumPy: re-seeded, or set to another state"),
        (lambda: random.seed(3), "random state of Python: re-seeded, or set to another state"),
        (lambda: os.environ.update(OPTCONFORM_TEST="secret"), "environment variable: OPTCONFORM_TEST changed"),
        (lambda: os.chdir("/"), "working directory: "),
        (lambda: warnings.simplefilter("ignore"), "warning filters: "),
        (lambda: sys.setrecursionlimit(900), "recursion limit: "),
        (lambda: setattr(sys, "excepthook", print), "exception hook: "),
    ],
)
def test_change_is_named(change, line):
    found = lines_after(change)
    assert any(one.startswith(line) for one in found), found
    assert not any("secret" in one for one in found)


@pytest.mark.numpy
def test_signal_handler_that_is_replaced():
    old = signal.getsignal(signal.SIGINT)
    try:
        (line,) = lines_after(lambda: signal.signal(signal.SIGINT, lambda *_: None))
    finally:
        signal.signal(signal.SIGINT, old)
    assert line.startswith(f"signal handler: {signal.SIGINT!s}: ")


@pytest.mark.numpy
def test_locale_that_is_replaced():
    old = locale.setlocale(locale.LC_ALL)
    other = "C.UTF-8" if old == "C" else "C"
    try:
        (line,) = lines_after(lambda: locale.setlocale(locale.LC_ALL, other))
    except locale.Error:
        pytest.skip(f"there is no locale {other}")
    finally:
        locale.setlocale(locale.LC_ALL, old)
    assert line.startswith("locale: ")


@pytest.mark.numpy
@pytest.mark.parametrize("count", [1, 624, 10**5])
def test_drawing_random_numbers_is_no_change(count):
    assert lines_after(lambda: (np.random.random(count), [random.random() for _ in range(count)])) == []


@pytest.mark.numpy
@pytest.mark.parametrize("count", [1, 624])
def test_setting_a_generator_back_is_a_change(count):
    python, shared = random.getstate(), np.random.get_state()
    np.random.random(count)
    [random.random() for _ in range(count)]
    found = lines_after(lambda: (np.random.set_state(shared), random.setstate(python)))
    assert [line.partition(":")[0] for line in found] == ["random state of Python", "random state of NumPy"]


@pytest.mark.numpy
def test_what_sound_libraries_do_is_no_change(monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    assert lines_after(lambda: monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/tmp")) == []
    assert lines_after(lambda: warnings.filterwarnings("ignore", "one notice of a library")) == []
    assert lines_after(lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 1000)) == []


@pytest.mark.numpy
def test_what_appears_between_two_looks_is_not_counted():
    before = observe()
    assert changed({name: value for name, value in before.items() if "NumPy" not in name}, before) == []
    assert changed(before, {}) == []


@pytest.mark.numpy
def test_what_cannot_be_read_is_left_out(monkeypatch):
    def broken():
        raise AttributeError("no such flag")

    monkeypatch.setattr(np, "geterr", broken)
    assert "NumPy error handling" not in observe()


@pytest.mark.numpy
def test_objects_that_cannot_be_compared():
    class Odd:
        def __eq__(self, other):
            raise RuntimeError("no")

        __hash__ = None

        def __repr__(self):
            return "\x1b[31m" + "o" * 200

    odd = Odd()
    assert global_state.differences(odd, odd) == []
    (line,) = global_state.differences(odd, Odd())
    assert "\x1b" not in line
    assert len(line) < 200


@pytest.mark.torch
def test_changes_of_torch_are_named():
    torch = pytest.importorskip("torch")

    def change():
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(123)
        torch.set_grad_enabled(False)
        torch.set_num_threads(threads + 1)
        torch.use_deterministic_algorithms(True)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.benchmark = True
        torch.set_autocast_enabled("cpu", True)
        torch.set_default_device("meta")

    threads, state = torch.get_num_threads(), torch.get_rng_state()
    try:
        found = lines_after(change)
    finally:
        torch.set_default_device(None)
        torch.set_autocast_enabled("cpu", False)
        torch.backends.cudnn.benchmark = False
        torch.set_float32_matmul_precision("highest")
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
        torch.set_grad_enabled(True)
        torch.set_rng_state(state)
        torch.set_default_dtype(torch.float32)
    assert "torch default dtype: torch.float32 -> torch.float64" in found
    assert {line.partition(":")[0].removeprefix("torch ") for line in found} >= {
        "default device",
        "initial seed",
        "gradients enabled",
        "number of threads",
        "deterministic debug mode",
        "float32 matmul precision",
        "cudnn.benchmark",
        "autocast",
    }


@pytest.mark.torch
def test_drawing_from_torch_is_no_change():
    torch = pytest.importorskip("torch")
    assert lines_after(lambda: torch.randn(1000)) == []


@pytest.mark.torch
def test_flushing_denormal_numbers_is_named():
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor does not flush denormal numbers")
    try:
        assert lines_after(lambda: torch.set_flush_denormal(True)) == ["denormal numbers kept: True -> False"]
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.tensorflow
def test_changes_of_keras_and_tensorflow_are_named():
    pytest.importorskip("tensorflow")
    load_adapter("tensorflow")
    import keras
    import tensorflow

    try:
        found = lines_after(lambda: (keras.config.set_floatx("float64"), tensorflow.config.run_functions_eagerly(True)))
    finally:
        keras.config.set_floatx("float32")
        tensorflow.config.run_functions_eagerly(False)
    assert "keras floatx: 'float32' -> 'float64'" in found
    assert "tensorflow functions run eagerly: False -> True" in found


@pytest.mark.jax
def test_changes_of_jax_are_named():
    jax = pytest.importorskip("jax")
    try:
        found = lines_after(lambda: jax.config.update("jax_default_matmul_precision", "float32"))
    finally:
        jax.config.update("jax_default_matmul_precision", None)
    assert found == ["jax flag: jax_default_matmul_precision: None -> 'float32'"]


@pytest.mark.torch
def test_one_framework_alone_is_looked_at():
    pytest.importorskip("torch")
    assert "torch default dtype" in observe("torch")
    assert "torch default dtype" not in observe("numpy")
    assert "NumPy error handling" in observe("torch")


SOUND = [
    ("numpy", "optconform.adapters.numpy_optimizers:AdamW", "default"),
    *(("torch", f"torch.optim:{name}", "default") for name in ("AdamW", "SGD", "NAdam", "Adafactor", "Rprop")),
    *(("torch", "torch.optim:AdamW", path) for path in ("loop", "foreach", "fused", "differentiable")),
    *(("tensorflow", f"keras.optimizers:{name}", "eager") for name in ("AdamW", "SGD")),
    ("tensorflow", "keras.optimizers:AdamW", "function"),
    *(("jax", "optax:adamw", path) for path in ("eager", "compiled")),
]


@pytest.mark.parametrize(
    ("framework", "spec", "path"), [pytest.param(*case, marks=getattr(pytest.mark, case[0])) for case in SOUND]
)
def test_sound_optimizers_change_nothing(framework, spec, path, parameters, gradients):
    if missing_imports(FRAMEWORKS[framework]):
        pytest.skip(f"{framework} is not installed")
    adapter = load_adapter(framework)
    before = observe()
    optimizer = adapter.build(load_target(spec), {"lr": 0.05}, parameters, dtype="float32", path=path)
    start = optimizer.snapshot()
    for step in gradients:
        optimizer.step(step, 0.05)
    optimizer.restore(start)
    optimizer.read_state()
    assert changed(before, observe()) == []
