"""Recording what `model.fit` does, on the TensorFlow backend: eagerly, in graphs, and compiled by XLA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .errors import NotSupported
from .keras_import import keras, tf
from .keras_recording import KerasRecorder


class Started(Protocol):
    """A recording that a recorder is attached to."""

    def close(self) -> None:
        """End it, and detach the recorder."""


class FitRecorder(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that records each step of the fit it is given to, whatever was traced before.

    `start` is called when training begins, and attaches the recorder to what it returns. The train function of the
    model is made anew for the recording and the former one is put back at the end, so other fits know nothing of this
    one. The end is that of the training, or whatever ends the train function by raising. Raises `NotSupported` before
    the first batch for what cannot be recorded: several replicas, and XLA with more than one step per execution.
    """

    def __init__(self, start: Callable[[KerasRecorder], Started]) -> None:
        super().__init__()
        self._start = start
        self._end: Callable[[], None] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin the recording."""
        model = self.model
        compiled = bool(model.jit_compile) and not model.run_eagerly
        _refuse(model, compiled)
        if not model.optimizer.built:  # else the first batch builds it, in the midst of a step that is traced
            model.optimizer.build(model.trainable_variables)
        recorder = KerasRecorder(model.optimizer, drained=compiled)
        recording = self._start(recorder)
        former, history = model.train_function, model.history
        model.make_train_function(force=True)
        train = model.train_function

        def end() -> None:
            self._end = None
            model.train_function = former
            recording.close()

        def recorded(iterator: Any) -> Any:
            if model.history is not history:  # another fit: the one to be recorded was broken off between two batches
                end()
                return model.train_function(iterator)
            recorder.begin()
            try:
                logs = train(iterator)
            except (StopIteration, tf.errors.OutOfRangeError):  # the end of the data
                raise
            except BaseException:
                end()
                raise
            recorder.finish()
            return logs

        model.train_function = recorded
        self._end = end

    def on_train_end(self, logs: Any = None) -> None:
        """End the recording."""
        if self._end is not None:
            self._end()


def _refuse(model: Any, compiled: bool) -> None:
    """Raise `NotSupported` where the fit of `model` that is about to begin cannot be recorded."""
    if model.optimizer is None:
        raise NotSupported("the model was compiled without an optimizer; compile it with the one to be recorded")
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1:
        raise NotSupported(
            f"the model trains on {replicas} replicas, and only one replica can be recorded; build the model outside "
            "of the strategy's scope, or under a strategy of one device"
        )
    if compiled and model.steps_per_execution > 1:
        raise NotSupported(
            f"steps_per_execution={model.steps_per_execution} with XLA, which Keras chooses where it can: of the steps "
            "of one execution only the last could be read. Compile the model with steps_per_execution=1, or with "
            "jit_compile=False"
        )
