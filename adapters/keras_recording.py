"""Recording a Keras optimizer, on the TensorFlow backend, while it trains.

Recorded is what the update rule is given: the gradient after unscaling, accumulation and the optimizer's own clipping
(`keras_recorded.APPLIED_BEFORE`), as `update_step` gets it. So theta before, gradient and theta after belong together.
Theta after a step is what the whole of `apply` leaves, constraints and a moving average that overwrites it included.

Two methods of the instance are replaced while it is recorded: `apply`, which is called once per step or micro-batch,
and `_backend_update_step`, which gets what the rule is given. Both call the original with what they were called with,
so that the training sees the same tensors. A `tf.function` takes them over when it is traced: one that was traced
before is not recorded, and one that was traced meanwhile keeps two idle calls of Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .errors import NotSupported
from .keras_import import compiled_by_xla, is_variable, keras, tf
from .keras_reading import CalledSteps, DrainedSteps
from .keras_recorded import RecordedOptimizer, RecordedVariable, applied_before, as_tensor
from .keras_steps import Shown, Steps
from .recording import Sink
from .text import describe_error


class KerasRecorder:
    """Hands every step of one Keras optimizer to a sink, from `attach` on.

    Of a `LossScaleOptimizer` the optimizer inside is recorded. A step is read while it is made; where XLA compiles it
    that is impossible, and whoever records sets `drained` and calls `begin` and `finish` around every batch, of an
    optimizer that is built.
    Raises `NotSupported` for a `MultiOptimizer`.
    """

    def __init__(self, optimizer: Any, *, drained: bool = False) -> None:
        self.rule = optimizer
        while isinstance(self.rule, keras.optimizers.LossScaleOptimizer):
            self.rule = self.rule.inner_optimizer
        if hasattr(self.rule, "_inner_optimizers"):
            raise NotSupported(
                f"{type(self.rule).__name__} is several optimizers in one: record each of its `optimizers` instead"
            )
        self._outer, self._drained = optimizer, drained
        self._sink: Sink | None = None
        self._recorded: RecordedOptimizer | None = None
        self._reading: CalledSteps | DrainedSteps | None = None
        self._iterations: Any = None
        self._clipping: tuple[Callable[..., Any], list[Any]] | None = None
        self._inside = self._reached = self._applied = False

    @property
    def versions(self) -> dict[str, str]:
        """Package name -> version, for the provenance."""
        return {"tensorflow": str(tf.__version__), "keras": str(keras.__version__)}

    @property
    def title(self) -> str:
        """`module:qualified name` of the optimizer whose rule is recorded."""
        return f"{type(self.rule).__module__}:{type(self.rule).__qualname__}"

    @property
    def lr_base(self) -> float | None:
        """The learning rate that the optimizer has now; None where it follows a schedule or a function."""
        rate = self.rule._learning_rate
        return float(as_tensor(rate).numpy()) if is_variable(rate) else None

    @property
    def provenance(self) -> dict[str, Any]:
        """What was done to the gradients before the rule was given them, where anything was."""
        before = applied_before(self.rule)
        if self._outer is not self.rule:
            before["loss_scale"] = "dynamic"
        return {"applied_before_the_rule": before} if before else {}

    def attach(self, sink: Sink) -> Callable[[], None]:
        """Begin to hand over steps. What it returns ends that, and puts the optimizer back as it was."""
        self._sink = sink
        if self._drained:
            self._prepare(None)
        count = int(self.rule._iterations.numpy())
        restore = [
            _replaced(self._outer, "apply", self._apply),
            _replaced(self.rule, "_clip_gradients", self._clip),
            _replaced(self.rule, "_backend_update_step", self._update),
        ]

        def detach() -> None:
            for each in restore:
                each()
            if not self._applied and int(self.rule._iterations.numpy()) > count:
                sink.stop(
                    "the steps were made by a tf.function that had been traced before the recording began, and so "
                    "without it; begin the recording before the function is called for the first time"
                )
            self._sink = None

        return detach

    def begin(self) -> None:
        """Before TensorFlow runs a batch (`drained` alone)."""
        if isinstance(self._reading, DrainedSteps):
            self._guarded(self._reading.begin)

    def finish(self) -> None:
        """After TensorFlow ran a batch (`drained` alone)."""
        if isinstance(self._reading, DrainedSteps):
            self._guarded(self._reading.finish)

    def _apply(self, original: Callable[..., Any], grads: Sequence[Any], trainable_variables: Any = None) -> Any:
        """Stand in for `apply`."""
        variables = None if trainable_variables is None else list(trainable_variables)
        if self._sink is None or self._inside or not len(grads):
            return original(grads, variables)
        self._inside, self._reached = True, False
        try:
            self._guarded(lambda: self._before(variables))
            result = original(grads, variables)
            self._guarded(self._after)
        finally:
            self._inside = False
        return result

    def _clip(self, original: Callable[..., Any], grads: Sequence[Any]) -> Any:
        """Stand in for `_clip_gradients`."""
        clipped = original(grads)
        self._clipping = (original, list(grads)) if clipped is not grads and _is_keras(original) else None
        return clipped

    def _update(self, original: Callable[..., Any], grads: Sequence[Any], variables: Sequence[Any], rate: Any) -> Any:
        """Stand in for `_backend_update_step`."""
        if self._sink is not None and self._inside:
            self._guarded(lambda: self._take(list(grads), list(variables), rate))
        return original(grads, variables, rate)

    def _prepare(self, variables: Sequence[Any] | None) -> None:
        """Lay out what is recorded; build the optimizer as `apply` would, which is about to."""
        if not self._outer.built:
            with keras.name_scope(self._outer.name, caller=self._outer):
                self._outer.build(variables)
        assert self._sink is not None
        self._recorded = RecordedOptimizer(self.rule, self._sink)
        steps = Steps(self._sink, self._recorded, skips=self._skips)
        self._reading = (DrainedSteps if self._drained else CalledSteps)(steps, self._recorded)

    @property
    def _skips(self) -> bool:
        """Whether an `apply` that moves no iteration is a step that was skipped, and not just a part of one."""
        return self._outer is not self.rule and not self.rule.gradient_accumulation_steps

    def _before(self, variables: Sequence[Any] | None) -> None:
        refused = self._refused()
        if refused is not None:
            assert self._sink is not None
            self._sink.stop(refused)
            self._sink = None
            return
        if self._reading is None:
            self._prepare(variables)
        assert self._reading is not None
        self._applied = True
        self._iterations = as_tensor(self.rule._iterations)
        self._reading.before()

    def _refused(self) -> str | None:
        """Why what is traced or run now cannot be recorded, if it cannot."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1:
            return f"{replicas} replicas train together, and only one replica can be recorded"
        if not self._drained and compiled_by_xla():
            return (
                "the step is in a tf.function with jit_compile=True, and out of what XLA compiles nothing can be "
                "called; leave jit_compile=True out, or train by fit with optconform.recording_callback"
            )
        return None

    def _take(self, grads: Sequence[Any], variables: Sequence[Any], rate: Any) -> None:
        assert self._recorded is not None
        assert self._reading is not None
        self._reached = True
        given = [
            (self._recorded.recorded(variable), number)
            for number, (gradient, variable) in enumerate(zip(grads, variables, strict=True))
            if gradient is not None
        ]
        pairs = [(recorded, number) for recorded, number in given if recorded is not None]
        sparse = [(r, n) for r, n in pairs if r.coordinates is None and self._by_rows(grads[n])]
        others = {n for _, n in sparse}
        dense = [(r, n) for r, n in pairs if n not in others]
        clipping = self._clipping

        def whole(recorded: RecordedVariable, gradient: Any) -> Any:
            tensor = tf.cast(tf.convert_to_tensor(gradient), recorded.dtype)
            tensor.set_shape(recorded.shape)  # which a conditional may have lost
            return tensor

        def values() -> list[Any]:
            # Clipped anew from what was clipped, where that can be: Grappler folds the factor of a clipping into what
            # follows only as long as nobody else reads the clipped gradient, and so a reader would change bits.
            given = grads if clipping is None or self._drained else clipping[0](clipping[1])
            shown = [whole(r, given[n]) for r, n in dense]
            if not self._drained:
                shown = [r.kept(tensor) for (r, _), tensor in zip(dense, shown, strict=True)]
            for r, n in sparse:
                shown += [given[n].indices, tf.gather(whole(r, given[n]), given[n].indices)]
            return shown

        shown = Shown(tuple(r.name for r, _ in dense), tuple(r.name for r, _ in sparse), self._recorded.held())
        self._reading.take(shown, as_tensor(rate), values)

    def _by_rows(self, gradient: Any) -> bool:
        """Whether a gradient is shown by its rows. What is drained needs to know how many, and is else shown whole."""
        known = isinstance(gradient, tf.IndexedSlices)
        return known and (not self._drained or bool(gradient.indices.shape.is_fully_defined()))

    def _after(self) -> None:
        if self._sink is None or self._reading is None:
            return
        whole = not self._skips and not self.rule.gradient_accumulation_steps
        if whole and not self._reached:
            self._sink.stop(
                f"{self.title} has an `apply` of its own that does not call `_backend_update_step`, by which Keras "
                "gives an update rule its gradients"
            )
            self._sink = None
            return
        skipped = tf.equal(self._iterations, as_tensor(self.rule._iterations))
        self._reading.after(skipped)

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do what is the recording's alone, so that no error of it reaches the training."""
        try:
            if self._sink is not None:
                action()
        except Exception as error:
            if self._sink is not None:
                self._sink.stop(describe_error(error))
            self._sink = None


def _is_keras(method: Any) -> bool:
    return str(getattr(method, "__module__", "")).partition(".")[0] == "keras"


def _replaced(holder: Any, name: str, method: Callable[..., Any]) -> Callable[[], None]:
    """Put `method`, called with the original first, in place of one of `holder`'s; return what undoes it.

    Past `__setattr__`, by which Keras tracks what an optimizer holds. AutoGraph, which would rewrite what a function
    calls while it is traced, leaves it alone.
    """
    attributes = vars(holder)
    own = attributes.get(name)
    attributes[name] = tf.autograph.experimental.do_not_convert(partial(method, getattr(holder, name)))
    mine = attributes[name]

    def restore() -> None:
        if attributes.get(name) is not mine:
            return  # replaced by somebody else since then, who calls this one: it hands everything on
        if own is None:
            del attributes[name]
        else:
            attributes[name] = own

    return restore
