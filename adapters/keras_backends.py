"""Keras on its JAX and PyTorch backends, each in a process of its own: TensorFlow is not imported.

The rules are Keras's own, written once for all backends, but each backend brings its own casts and its own decay.
Found by playing the shipped trace `digits_mlp` in float64 through Adam, AdamW, their AMSGrad and SGD with and without
momentum and Nesterov's form, with Keras 3.15, and judging every step against the certified bound:

- JAX rounds the learning rate to float32, the format of the variable that holds it, and nothing else: betas,
  momentum and weight decay, of which TensorFlow rounds one or the other (`keras_rounding`), enter exactly. All are
  inside the bound then, at most at .50 of it.
- PyTorch rounds the learning rate likewise, and nothing else in the rules: without decay all are inside the bound.
  But its `_apply_weight_decay` multiplies all parameters by 1 - weight_decay * lr, formed in float32. In float64 that
  is no decay by rounded hyperparameters: what is rounded is the factor itself, by up to 2**-25 of every parameter in
  every step, 4e7 times the bound of a float64 step at lr = .01 and weight_decay = .1. In float32 it is inside.
- In float32 both are inside, at most at .87 with decay and 1.0 without, but for SGD in Nesterov's form on PyTorch.
  There the step is added to the parameters in two parts, each of which is rounded, where the bound allows for one
  rounding: the first elements outside are so by 1.1 times the bound with decay and 1.9 without.
- In 16 bits both take beta**t in the parameters' own format, as TensorFlow does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from types import ModuleType

from .execution import Execution, Open
from .keras_built import KerasBuilt
from .keras_executed import Way


class _BackendRuntime:
    """What the two have in common: `backend` opens executions, and `devices` knows the library below Keras."""

    def __init__(
        self,
        backend: ModuleType,
        devices: ModuleType,
        packages: Sequence[str],
        opened: Mapping[str, Open],
    ) -> None:
        self._backend, self._devices, self._packages = backend, devices, packages
        self.executions: Mapping[str, Execution] = {name: Execution(name, each) for name, each in opened.items()}

    def versions(self) -> dict[str, str]:
        """Return the versions of Keras, of the library below it, and of NumPy."""
        return {name: version(name) for name in ("keras", *self._packages, "numpy")}

    def devices(self) -> tuple[str, ...]:
        """Return those of `cpu`, `gpu:0`, ... that the library has."""
        found: tuple[str, ...] = self._devices.present_devices()
        return found

    def describe(self, device: str) -> dict[str, str]:
        """Return what is known of a device."""
        found: dict[str, str] = self._devices.describe_device(device)
        return found

    def flags(self) -> dict[str, str]:
        """Return settings of Keras and of the library that change bits, as they are now."""
        return {"floatx": str(self._backend.keras.config.floatx()), **self._devices.flags()}


class KerasJaxRuntime(_BackendRuntime):
    """`Runtime` of Keras's optimizers on the JAX backend. Raises `MissingFramework` where Keras runs on another."""

    def __init__(self) -> None:
        from . import jax_devices, keras_on_jax

        ways: Mapping[str, Callable[[KerasBuilt], Way]] = {
            "eager": keras_on_jax.eager,
            "stateless": keras_on_jax.StatelessJax,
        }
        opened = {name: partial(keras_on_jax.opened, way) for name, way in ways.items()}
        super().__init__(keras_on_jax, jax_devices, ("jax", "jaxlib"), opened)


class KerasTorchRuntime(_BackendRuntime):
    """`Runtime` of Keras's optimizers on the PyTorch backend. Raises `MissingFramework` where Keras runs on another."""

    def __init__(self) -> None:
        from . import keras_on_torch, torch_devices

        super().__init__(keras_on_torch, torch_devices, ("torch",), {"eager": keras_on_torch.opened})
