"""Process-wide state that an optimizer should leave as it is: what it is now, and what has changed since.

Only modules that are loaded already are looked at, and what one of them adds between two looks is not counted:
importing a framework sets flags and handlers of its own. Not counted either, because sound optimizers do it:

- drawing from a global random generator. Re-seeding it, or setting it back, is counted: the state of Python's and
  NumPy's must be reached from the old one by drawing at most `random_generators.DRAWS` numbers, and
  `torch.initial_seed()` must stay.
  Seeding PyTorch with the seed that it has already cannot be seen.
- filters for the warnings of one library, `TORCHINDUCTOR_*` variables and a raised recursion limit: PyTorch's first
  step imports its compiler, which brings the first two, and the compiler's first use the third.
- registries of shown warnings, caches, loaded modules: every first step changes them.
"""

from __future__ import annotations

import gc
import locale
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .frameworks import FRAMEWORKS
from .random_generators import Twister, twister_of_numpy, twister_of_python
from .text import escape_control

_OWN_VARIABLES = ("TORCHINDUCTOR_", "_TORCHINDUCTOR_")


def differences(old: Any, new: Any) -> list[str]:
    """Return the old and the new value where they differ; of dictionaries, item by item, those that are in both."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [f"{key}: {line}" for key in old if key in new for line in differences(old[key], new[key])]
    try:
        equal = old is new or bool(old == new)
    except Exception:  # an object whose comparison raises, and which has been exchanged
        equal = False
    return [] if equal else [f"{_shown(old)} -> {_shown(new)}"]


def _reseeded(old: Any, new: Any) -> list[str]:
    if isinstance(old, Twister) and isinstance(new, Twister):
        return [] if old.reaches(new) else ["re-seeded, or set to another state"]
    return differences(old, new)


def _names_alone(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return the names whose values changed, came or went; the values may be secret."""
    return [
        f"{escape_control(name)} changed" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)
    ]


def _lowered(old: int, new: int) -> list[str]:
    return differences(old, new) if new < old else []


def _environment(_: Any) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}


def _general_filters(_: Any) -> list[tuple[str, str]]:
    """Return action and category of the filters that concern the warnings of every module."""
    filters: Any = warnings.filters
    return [
        (action, category.__name__)
        for action, message, category, module, _ in filters
        if message is None and module is None and category.__module__ == "builtins"
    ]


def _signal_handlers(_: Any) -> dict[str, Any]:
    return {str(number): signal.getsignal(number) for number in signal.valid_signals()}


def _autocast(torch: Any) -> dict[str, Any]:
    return {kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")}


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to look at."""

    module: str
    """The module that must be loaded."""
    name: str
    read: Callable[[Any], Any]
    """Function of the module; what it returns is kept for comparison, and must not change by itself."""
    compare: Callable[[Any, Any], list[str]] = differences
    """From the old and the new value, what has changed and counts, one line each."""


ITEMS: tuple[Item, ...] = (
    Item("sys", "random state of Python", lambda _: twister_of_python(), _reseeded),
    Item("sys", "working directory", lambda _: str(Path.cwd())),
    Item("sys", "environment variable", _environment, _names_alone),
    Item("sys", "warning filters", _general_filters),
    Item("sys", "signal handler", _signal_handlers),
    Item("sys", "locale", lambda _: locale.setlocale(locale.LC_ALL)),
    Item("sys", "recursion limit", lambda sys: sys.getrecursionlimit(), _lowered),
    Item("sys", "trace function", lambda sys: sys.gettrace()),
    Item("sys", "exception hook", lambda sys: sys.excepthook),
    Item("sys", "garbage collection", lambda _: gc.isenabled()),
    Item("sys", "disabled log level", lambda _: logging.root.manager.disable),
    Item("numpy", "random state of NumPy", lambda _: twister_of_numpy(), _reseeded),
    Item("numpy", "NumPy error handling", lambda numpy: numpy.geterr()),
    Item("numpy", "NumPy print option", lambda numpy: numpy.get_printoptions()),
    Item("numpy", "denormal numbers kept", lambda numpy: bool((numpy.full(8, 5e-324) * numpy.ones(8)).all())),
    Item("torch", "torch default dtype", lambda torch: torch.get_default_dtype()),
    Item("torch", "torch default device", lambda torch: torch.get_default_device()),
    Item("torch", "torch initial seed", lambda torch: torch.initial_seed()),
    Item("torch", "torch number of threads", lambda torch: torch.get_num_threads()),
    Item("torch", "torch gradients enabled", lambda torch: torch.is_grad_enabled()),
    Item("torch", "torch inference mode", lambda torch: torch.is_inference_mode_enabled()),
    Item("torch", "torch anomaly detection", lambda torch: torch.is_anomaly_enabled()),
    Item("torch", "torch deterministic debug mode", lambda torch: torch.get_deterministic_debug_mode()),
    Item("torch", "torch float32 matmul precision", lambda torch: torch.get_float32_matmul_precision()),
    Item("torch", "torch autocast", _autocast),
    Item("torch", "torch cudnn.enabled", lambda torch: torch.backends.cudnn.enabled),
    Item("torch", "torch cudnn.benchmark", lambda torch: torch.backends.cudnn.benchmark),
    Item("torch", "torch cudnn.deterministic", lambda torch: torch.backends.cudnn.deterministic),
    Item("torch", "torch cudnn.allow_tf32", lambda torch: torch.backends.cudnn.allow_tf32),
    Item("torch", "torch cuda.matmul.allow_tf32", lambda torch: torch.backends.cuda.matmul.allow_tf32),
    Item("tensorflow", "tensorflow functions run eagerly", lambda tf: tf.config.functions_run_eagerly()),
    Item("tensorflow", "tensorflow jit", lambda tf: tf.config.optimizer.get_jit()),
    Item("tensorflow", "tensorflow TF32", lambda tf: tf.config.experimental.tensor_float_32_execution_enabled()),
    Item("keras", "keras floatx", lambda keras: keras.config.floatx()),
    Item("keras", "keras epsilon", lambda keras: keras.config.epsilon()),
    Item("keras", "keras image data format", lambda keras: keras.config.image_data_format()),
    Item("keras", "keras dtype policy", lambda keras: keras.config.dtype_policy().name),
    Item("keras", "keras backend", lambda keras: keras.config.backend()),
    Item("jax", "jax flag", lambda jax: dict(jax.config.values)),
)
"""What is looked at, in the order of the report."""


def observe(framework: str | None = None) -> dict[str, Any]:
    """Return the value of every item whose module is loaded, by name; what cannot be read is left out.

    With `framework`, those of Python, NumPy and that framework alone. Takes 0.6 ms beside PyTorch.
    """
    own = None if framework is None else {"sys", "numpy", *FRAMEWORKS[framework].imports}
    found: dict[str, Any] = {}
    for item in ITEMS:
        loaded = sys.modules.get(item.module)
        if loaded is None or (own is not None and item.module not in own):
            continue
        try:
            found[item.name] = item.read(loaded)
        except Exception:  # a flag that this version does not have, or a module that is half imported
            continue
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return one line for every change between two looks: name of the item, old and new value."""
    return [
        f"{item.name}: {line}"
        for item in ITEMS
        if item.name in before and item.name in after
        for line in item.compare(before[item.name], after[item.name])
    ]


def _shown(value: Any) -> str:
    """Return a short form of `repr`."""
    text = escape_control(repr(value))
    return text if len(text) <= 80 else f"{text[:77]}..."
