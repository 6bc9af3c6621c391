"""TensorFlow and Keras, imported together, quietly, and on no other backend than TensorFlow's."""

from __future__ import annotations

import os
from typing import Any

from . import native_output
from .errors import MissingFramework
from .frameworks import FRAMEWORKS, prepare_environment

BACKEND = "tensorflow"


def _wrong_backend(found: str) -> MissingFramework:
    return MissingFramework(
        f"Keras runs on {found!r} in this process, but the {BACKEND} adapter needs the "
        f"{BACKEND!r} backend. Set KERAS_BACKEND={BACKEND} before Keras is imported, or unset it."
    )


def _import_keras() -> tuple[Any, Any]:
    """Import TensorFlow and Keras. Raises `MissingFramework` where Keras is set to another backend."""
    prepare_environment(FRAMEWORKS[BACKEND])
    asked = os.environ["KERAS_BACKEND"]
    if asked != BACKEND:
        raise _wrong_backend(asked)
    with native_output.without_noise():
        import keras
        import tensorflow
    if keras.backend.backend() != BACKEND:  # imported earlier, under another setting
        raise _wrong_backend(str(keras.backend.backend()))
    return tensorflow, keras


tf, keras = _import_keras()


def is_variable(value: Any) -> bool:
    """Return whether `value` is a variable of Keras or of TensorFlow."""
    return isinstance(value, keras.Variable | tf.Variable)


def compiled_by_xla() -> bool:
    """Return whether what is traced now is a `tf.function` that XLA compiles."""
    from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext  # no public name tells

    return bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))
