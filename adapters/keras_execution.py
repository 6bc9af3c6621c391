"""Keras on TensorFlow as one process runs it: ways of executing a course of steps, devices, and what is recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from .execution import MASTER_DTYPES, Executed, Execution, OfAdapter, Opening
from .keras_executed import KerasExecuted, Way
from .keras_import import deterministic_ops, keras, tf
from .keras_loss_scale import LossScaleWay
from .keras_masters import MasterWay, master_dtype
from .keras_tf import KerasAdapter, KerasOptimizer
from .keras_ways import TracedWay, eager, misplaced
from .nvidia_driver import nvidia_driver
from .processor import describe_processor
from .protocol import Array

MakeWay = Callable[[KerasOptimizer, Mapping[str, Array], str, int], Way]
"""From a built optimizer, the initial parameters, the dtype handed over and the number of steps to a way."""

ENVIRONMENT = (
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_DETERMINISTIC_OPS",
    "TF_FORCE_GPU_ALLOW_GROWTH",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
    "NVIDIA_TF32_OVERRIDE",
)
"""Environment variables that change what TensorFlow computes, or where."""


class KerasRuntime(OfAdapter):
    """`Runtime` of Keras's optimizers on the TensorFlow backend."""

    def __init__(self) -> None:
        adapter = KerasAdapter()

        def execution(name: str, path: str, way: MakeWay, masters: Mapping[str, str] | None = None) -> Execution:
            steps_in = masters or {}
            return Execution(name, partial(_opened, adapter, path, way, bool(steps_in)), steps_in=steps_in)

        rows = (
            execution("eager", "eager", lambda optimizer, *_: eager(optimizer)),
            execution("function", "function", lambda optimizer, *_: TracedWay(optimizer, compiled=False)),
            execution("compiled", "compiled", lambda optimizer, *_: TracedWay(optimizer, compiled=True)),
            execution("loss-scale", "eager", LossScaleWay),
            execution(
                "master-weights",
                "eager",
                lambda optimizer, parameters, dtype, n: MasterWay(optimizer, parameters, dtype),
                MASTER_DTYPES,
            ),
        )
        super().__init__(adapter, rows)

    def describe(self, device: str) -> dict[str, str]:
        """Return what is known of a device; of a GPU what TensorFlow and the driver tell."""
        kind, _, index = device.partition(":")
        if kind == "cpu":
            return describe_processor()
        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[int(index or 0)])
        told = {
            "name": details.get("device_name"),
            "capability": ".".join(map(str, details.get("compute_capability", ()))),
            "driver": nvidia_driver(),
        }
        return {what: str(value) for what, value in told.items() if value}

    def flags(self) -> dict[str, str]:
        """Return what changes bits, as it is now; what is not set is empty."""
        growth = {
            device.name.removeprefix("/physical_device:"): tf.config.experimental.get_memory_growth(device)
            for device in tf.config.list_physical_devices("GPU")
        }
        settings = {
            "deterministic_ops": deterministic_ops(),
            "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
            "jit": tf.config.optimizer.get_jit(),
            "floatx": keras.config.floatx(),
            **{f"memory_growth {name}": value for name, value in growth.items()},
        }
        return {name: str(value) for name, value in settings.items()} | {
            name: os.environ.get(name, "") for name in ENVIRONMENT
        }


def _opened(adapter: KerasAdapter, path: str, way: MakeWay, over_masters: bool, opening: Opening) -> Executed:
    """Begin one execution: an `Open` but for its first four arguments."""
    stepped = master_dtype(opening.dtype) if over_masters else opening.dtype
    given = opening.rounded()
    optimizer = replace(given, dtype=stepped).built_by(adapter, path)
    return KerasExecuted(
        optimizer,
        way(optimizer, given.parameters, opening.dtype, len(opening.feeds)),
        device=optimizer.device,
        backend=str(keras.backend.backend()),
        misplaced=partial(misplaced, optimizer, optimizer.device),
    )
