"""TensorFlow and Keras, imported together, quietly, and on no other backend than TensorFlow's."""

from __future__ import annotations

from typing import Any

from . import native_output
from .frameworks import FRAMEWORKS, prepare_environment
from .keras_backend import import_keras

BACKEND = "tensorflow"


def _import_both() -> tuple[Any, Any]:
    """Import TensorFlow and Keras. Raises `MissingFramework` where Keras is set to another backend."""
    prepare_environment(FRAMEWORKS[BACKEND])
    found = import_keras(BACKEND)
    with native_output.without_noise():
        import tensorflow
    return tensorflow, found


tf, keras = _import_both()


def is_variable(value: Any) -> bool:
    """Return whether `value` is a variable of Keras or of TensorFlow."""
    return isinstance(value, keras.Variable | tf.Variable)


def compiled_by_xla() -> bool:
    """Return whether what is traced now is a `tf.function` that XLA compiles."""
    from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext  # no public name tells

    return bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def deterministic_ops() -> bool:
    """Return whether TensorFlow was told to compute the same bits in every run."""
    from tensorflow.python.framework.config import is_op_determinism_enabled  # the public module only sets it

    return bool(is_op_determinism_enabled())
