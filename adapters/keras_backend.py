"""Keras, imported on one backend and on no other: a process has one, chosen before the first import."""

from __future__ import annotations

import os
from typing import Any

from . import native_output
from .errors import MissingFramework


def import_keras(backend: str) -> Any:
    """Import Keras on `backend`, which is chosen here where nothing chose one before, and return the module.

    Raises `MissingFramework` where Keras is set to another backend, or was imported on another.
    """
    asked = os.environ.setdefault("KERAS_BACKEND", backend)
    if asked != backend:
        raise _wrong_backend(asked, backend)
    with native_output.without_noise():
        import keras
    if keras.backend.backend() != backend:  # imported earlier, under another setting
        raise _wrong_backend(str(keras.backend.backend()), backend)
    return keras


def _wrong_backend(found: str, needed: str) -> MissingFramework:
    return MissingFramework(
        f"Keras runs on {found!r} in this process, but the {needed} adapter needs the "
        f"{needed!r} backend. Set KERAS_BACKEND={needed} before Keras is imported, or unset it."
    )
