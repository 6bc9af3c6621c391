"""Master weights in Keras: a model in 16 bits, stepped by an optimizer over float32 copies of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..reference.formats import FORMATS
from .arrays import checked, host_copies, present, shapes_of
from .errors import NotSupported, StepFailed, foreign_code
from .execution import MASTER_DTYPES
from .keras_import import keras, tf
from .keras_list import value_of
from .keras_tf import KerasOptimizer
from .keras_ways import eager
from .protocol import Array, Gradients


def master_dtype(dtype: str) -> str:
    """Return the dtype of the masters for a model in `dtype`. Raises `NotSupported` where it needs none."""
    if dtype not in MASTER_DTYPES:
        raise NotSupported(f"master weights are for models in {' or '.join(MASTER_DTYPES)}, not in {dtype}.")
    return MASTER_DTYPES[dtype]


class MasterWay:
    """The optimizer steps the masters with widened gradients, and each step ends in their rounding to the model.

    `optimizer` is built over masters, which start from `parameters` rounded to `dtype`.
    """

    def __init__(self, optimizer: KerasOptimizer, parameters: Mapping[str, Array], dtype: str) -> None:
        (self._list,) = optimizer.lists
        self._dtype, self._device, self._shapes = dtype, optimizer.device, shapes_of(parameters)
        self._way = eager(optimizer)
        with tf.device(self._device):
            self.model = {
                name: keras.Variable(array, dtype=dtype, name=f"model_{number}")
                for number, (name, array) in enumerate(host_copies(parameters, dtype).items())
            }
        self._wrong = self._compared()

    def step(self, gradients: Gradients, lr: float) -> None:
        """Round the gradients to the model's dtype, step the masters with them, and round these to the model."""
        checked(gradients, self._shapes)
        narrow = host_copies(present(gradients, self._shapes), self._dtype)
        wide = host_copies(narrow, MASTER_DTYPES[self._dtype])
        self._way.step({name: wide.get(name) for name in self._shapes}, lr)
        with tf.device(self._device), foreign_code(StepFailed, "rounding the masters to the model"):
            for name, master in self._list.variables.items():
                self.model[name].assign(self.rounded(master))
        self._wrong = self._wrong or self._compared()

    def rounded(self, master: Any) -> Any:
        """Return a master rounded to the model's dtype."""
        return tf.cast(master.value, self._dtype)

    def seen(self) -> tuple[bool, str]:
        """Return whether the masters alone were stepped, and the model was their rounding after every step."""
        good, said = self._way.seen()
        optimized = {id(variable) for variable in getattr(self._list.optimizer, "_trainable_variables", ())}
        masters = {id(variable) for variable in self._list.variables.values()}
        stepped = optimized == masters
        beyond = sum(
            int(np.sum(value_of(master) != value_of(self.model[name]).astype(value_of(master).dtype)))
            for name, master in self._list.variables.items()
        )
        formats = sorted({str(variable.dtype) for variable in self._list.variables.values()})
        said += (
            f", over {' and '.join(formats)} masters, {beyond} of whose elements hold more than the "
            f"{self._dtype} model does"
        )
        if not stepped:
            said += ", but what the optimizer was built with are not the masters"
        return good and stepped and not self._wrong, f"{said}; {self._wrong}" if self._wrong else said

    def _compared(self) -> str:
        """Return what is wrong with the dtypes or the rounding of masters and model; nothing where nothing is."""
        wanted = MASTER_DTYPES[self._dtype]
        for name, variable in self._list.variables.items():
            master, model = value_of(variable), value_of(self.model[name])
            if (str(master.dtype), str(model.dtype)) != (wanted, self._dtype):
                return f"the master of {name} is {master.dtype}, the model's weight {model.dtype}"
            (exact,) = host_copies({name: master}, self._dtype).values()
            # TensorFlow's kernels may take a subnormal number for zero.
            flushed = (model == 0) & (np.abs(master.astype(np.float64)) < FORMATS[wanted].smallest_normal)
            if not np.all((model == exact) | flushed | (np.isnan(model) & np.isnan(exact))):
                return f"the model's {name} is not the rounding of its master"
        return ""
