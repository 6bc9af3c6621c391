"""`optconform.recording_callback`: recording what Keras's `fit` does. Keras is imported when it is called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...adapters.frameworks import load_adapter
from ..traces.writer import check_target
from .options import RecordingOptions
from .record import Request, start_keras
from .recording import Recording


def recording_callback(path: str | os.PathLike[str], **options: Any) -> Any:
    """Return a `keras.callbacks.Callback` that records the `fit` it is given to as the trace `path`.

        model.fit(x, y, callbacks=[optconform.recording_callback("run.trace", sample=4096)])

    `options` are those of `RecordingOptions`. One step is recorded for every update of the optimizer, in a model that
    runs eagerly, in a graph or compiled by XLA; what was traced before is traced anew, and other fits are left alone.
    Recorded is the gradient that the update rule is given, after the optimizer's own unscaling, accumulation and
    clipping. The training is the same bits with and without it, eagerly and in graphs; of what XLA compiles that is
    measured (convolutions, embeddings, LSTM, clipping, loss scaling), but a gradient that is read is one more output to
    its compiler. `steps_per_execution` above 1 is recorded with `jit_compile=False` alone.

    Raises `ValueError` or `TypeError` for an option, `TraceError` where no trace can be written as `path`,
    `MissingFramework` where Keras is not installed or runs on another backend than TensorFlow. The fit raises
    `NotSupported` before its first batch where it trains several replicas, or several steps in one execution that XLA
    compiles. From then on nothing is raised into it: a recording that cannot go on ends with one `RecordingWarning`.
    """
    load_adapter("tensorflow")  # says what is missing, and how to get it
    from ...adapters.keras_fit import FitRecorder

    checked, target = RecordingOptions.of(options), Path(path).resolve()
    check_target(target, checked.overwrite)

    def start(recorder: Any) -> Recording:
        return start_keras(Request(recorder.rule, target, checked), recorder)

    return FitRecorder(start)
