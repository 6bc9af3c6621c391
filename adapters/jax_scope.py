"""Where one optimizer's JAX arrays live: device and dtypes, with nothing switched on for the whole process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax

from .protocol import Array


class Scope:
    """Device of one optimizer; 64-bit arrays are on inside `entered()` alone, never globally."""

    def __init__(self, device: Any, *, double: bool) -> None:
        self.device = device
        self._double = double
        if hasattr(jax, "enable_x64"):
            self._enable_x64 = jax.enable_x64
        else:  # where JAX is older
            from jax.experimental import enable_x64

            self._enable_x64 = enable_x64

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Create arrays on the device, in 64 bits where a parameter has them."""
        with self._enable_x64(self._double), jax.default_device(self.device):
            yield

    def put(self, tree: Mapping[str, Array]) -> dict[str, Any]:
        """Move a whole tree in one call."""
        with self.entered():
            moved: dict[str, Any] = jax.device_put(dict(tree), self.device)
        return moved

    def put_leaves(self, leaves: list[Any]) -> list[Any]:
        """Move arrays; Python numbers stay what they are."""
        with self.entered():
            return [leaf if isinstance(leaf, int | float) else jax.device_put(leaf, self.device) for leaf in leaves]


def devices_of(kind: str) -> list[Any]:
    """Return JAX's devices of a kind, `cpu` or `gpu`."""
    try:
        return list(jax.devices(kind))
    except RuntimeError:  # how JAX says that it has no such backend
        return []


def device_called(name: str) -> Any:
    """Return JAX's device for `cpu` or `gpu:N`, one of `present_devices`."""
    kind, _, index = name.partition(":")
    return devices_of(kind)[int(index or 0)]


def present_devices() -> tuple[str, ...]:
    """Return `cpu`, unless JAX_PLATFORMS leaves it out, and one `gpu:N` for every GPU."""
    cpu = ("cpu",) if devices_of("cpu") else ()
    return (*cpu, *(f"gpu:{index}" for index in range(len(devices_of("gpu")))))
