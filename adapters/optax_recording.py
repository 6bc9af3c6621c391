"""Recording what an Optax gradient transformation is given while it trains, compiled or not."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from importlib import metadata
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import jax
import numpy as np
import optax

from .optax_arrivals import Arrivals
from .optax_tap import Tap
from .optax_update import canonical, count_in, layout_of, named
from .protocol import Array, Target
from .recording import Sink, plain_values
from .signatures import signature_of
from .text import describe_error

_EMITS = "optconform_emits"
"""The extra argument by which `optax.MultiSteps` tells the rule inside whether a micro-step is the last of its step."""


class Closing(Protocol):
    """What a recorded transformation wants of its recording besides the `Sink`."""

    def close(self) -> None:
        """Settle the last step, bring every step to the disk and end the recording."""


class RecordedState(NamedTuple):
    """The state of a recorded transformation, which a checkpoint may hold as any other.

    `inner_state` is what goes on without a recording; `RecordedTransformation.adopt` goes the other way.
    """

    inner_state: Any
    """The state of the transformation that is recorded."""
    n_updates: Any
    """Updates that it has had (int32 scalar)."""


class RecordedTransformation(optax.GradientTransformationExtraArgs):  # type: ignore[misc]
    """The transformation that it was made from, bit for bit, and a recording of what that is given.

    Takes whatever place a gradient transformation can, and has to be given the parameters: `update(gradients, state,
    params)`. Gradients are recorded as *this* transformation gets them: put it around the innermost rule to see those
    that were clipped or masked. `optax.MultiSteps` is recorded as the rule inside it, once for each of its real
    updates. Of a step that `optax.apply_if_finite` rejects inside, the trace says that it was skipped. Theta after a
    step is what the next update is given, the very bits that training goes on with.

    Inside `vmap`, `shard_map` or `pmap` the recording ends with a warning, and training goes on.
    """

    recorder: OptaxRecorder
    recording: Closing

    def close(self) -> None:
        """Wait for what JAX has yet to compute on this thread, and end the recording; may be called again."""
        self.recording.close()

    def finish(self, params: Any) -> None:
        """End the recording with the parameters after the last step, which no update was given any more.

        They are of use where the recording keeps `snapshots`; without them, theta after the last step is not kept.
        """
        self.recorder.end(params)
        self.recording.close()

    def adopt(self, state: Any) -> Any:
        """Return the state to go on with from `state`, one of the transformation without recording."""
        return self.recorder.adopted(state)

    def __enter__(self) -> Self:
        """Return the transformation itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it, however the block was left."""
        self.close()


class OptaxRecorder:
    """What records `transformation`, a gradient transformation or an `optax.MultiSteps`.

    `learning_rate` is the number or the schedule (a function of the count of updates) that the transformation was made
    with, and `hyperparameters` others of it that never change, under Optax's names or canonical ones. Where `optimizer`
    names a function of Optax (`optax:adamw`), those that are not told have its defaults. A state of
    `optax.inject_hyperparams` tells its own, which go before all of these. Raises `TypeError` or `ValueError` for
    values that cannot be recorded.
    """

    def __init__(
        self,
        transformation: Any,
        *,
        learning_rate: Any = None,
        hyperparameters: Mapping[str, Any] | None = None,
        optimizer: str | None = None,
    ) -> None:
        constants = canonical(hyperparameters or {})
        unfit = [name for name in constants if name not in plain_values(constants)]
        if unfit:
            raise TypeError(f"hyperparameters: {unfit[0]}={constants[unfit[0]]!r}, but should be a value for JSON")
        if learning_rate is not None and "lr" in constants:
            raise ValueError(
                "the learning rate is given twice: as learning_rate= and in hyperparameters=; give it once"
            )
        self._constants = _defaults(optimizer or "") | plain_values(constants)
        self._schedule: Callable[[Any], Any] | None = None
        if callable(learning_rate):
            self._schedule = learning_rate
        elif learning_rate is not None:
            if np.ndim(learning_rate) or not isinstance(np.asarray(learning_rate).item(), int | float):
                raise TypeError(f"learning_rate={learning_rate!r}, but should be a number or a schedule")
            self._constants["lr"] = float(learning_rate)
        self._transformation = transformation
        self._outer = getattr(transformation.update, "__self__", None)
        """The `optax.MultiSteps`, where it is one or was made of one."""
        if not isinstance(self._outer, optax.MultiSteps):
            self._outer = None
        elif not all(hasattr(self._outer, name) for name in ("_opt", "_every_k_schedule")):
            raise TypeError(
                f"this optax.MultiSteps (Optax {optax.__version__}) shows no rule inside. Record that one: "
                "optax.MultiSteps(optconform.record(rule, ..), ..)"
            )
        self._arrivals: Arrivals
        self._tap: Tap

    @property
    def versions(self) -> dict[str, str]:
        """The versions of JAX, jaxlib and Optax."""
        return {"jax": jax.__version__, "jaxlib": metadata.version("jaxlib"), "optax": optax.__version__}

    @property
    def title(self) -> str:
        """`module:name` of the function that made the transformation's update, as far as it can be told."""
        update = self._transformation.update
        name = getattr(update, "__qualname__", type(update).__qualname__)
        return f"{getattr(update, '__module__', type(update).__module__)}:{name.partition('.<locals>')[0]}"

    @property
    def lr_base(self) -> float | None:
        """The learning rate, where it never changes."""
        return self._constants.get("lr")

    def transformation(self, sink: Sink, recording: Closing) -> RecordedTransformation:
        """Return the recorded transformation, whose steps go into `sink`."""
        self._arrivals = Arrivals(sink, self._constants)
        self._tap = Tap(self._arrivals, self._schedule)
        made = self._recorded(self._transformation) if self._outer is None else self._accumulating(self._outer)
        made.recorder, made.recording = self, recording
        return made

    def adopted(self, state: Any) -> Any:
        """The recorded transformation's state for `state`, one of the transformation itself."""
        if self._outer is not None:
            return state._replace(inner_opt_state=_counted(state.inner_opt_state))
        return _counted(state)

    def end(self, params: Any = None) -> None:
        """Settle the last step, with the parameters after it where they are at hand. Raises nothing."""
        try:
            jax.effects_barrier()
        except Exception as error:  # of a program that failed: it is the user's to see, where results are used
            self._arrivals.stop(f"waiting for JAX failed: {describe_error(error)}")
        try:
            self._arrivals.end(None if params is None else self._theta(params))
        except Exception as error:
            self._arrivals.stop(describe_error(error))

    def _theta(self, params: Any) -> dict[str, Array]:
        layout = layout_of(params)
        theta = self._tap.chosen(layout, named(params, layout))
        return {name: np.array(value) for name, value in theta.items()}

    def _recorded(self, transformation: Any) -> RecordedTransformation:
        inner = optax.with_extra_args_support(transformation)

        def init(params: Any) -> RecordedState:
            return RecordedState(inner.init(params), jax.numpy.zeros([], np.int32))

        def update(
            updates: Any, state: RecordedState, params: Any = None, **extra_args: Any
        ) -> tuple[Any, RecordedState]:
            emits = extra_args.pop(_EMITS, True)
            changed, inner_state = inner.update(updates, state.inner_state, params, **extra_args)
            before = state.inner_state
            n_updates = self._tap.count(emits, state.n_updates, updates, before, inner_state, params)
            return changed, RecordedState(inner_state, n_updates)

        return RecordedTransformation(init, update)

    def _accumulating(self, outer: Any) -> RecordedTransformation:
        """`optax.MultiSteps` with the rule inside it recorded, where its last micro-steps say that they are.

        It calls the rule in every micro-step, on what has been accumulated so far.
        """
        steps = copy.copy(outer)
        steps._opt = self._recorded(outer._opt)

        def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, Any]:
            emits = state.mini_step == outer._every_k_schedule(state.gradient_step) - 1
            changed: tuple[Any, Any] = steps.update(updates, state, params, **extra_args, **{_EMITS: emits})
            return changed

        return RecordedTransformation(steps.init, update)


def _defaults(optimizer: str) -> dict[str, Any]:
    """The defaults of the function of Optax that `optimizer` names, under canonical names; nothing for any other."""
    module, _, name = optimizer.partition(":")
    function = getattr(optax, name, None) if module == "optax" else None
    if not inspect.isfunction(function):
        return {}
    return plain_values(canonical(signature_of(Target(optimizer, function, "jax")).defaults))


def _counted(state: Any) -> RecordedState:
    """`state` with the count that it has itself, as a copy: a buffer that is twice in a state cannot be donated."""
    return RecordedState(state, jax.numpy.array(count_in(state, 0), np.int32))
