"""Steps of Keras on TensorFlow, eager or in a `tf.function`, observed in what Python and TensorFlow really ran."""

from __future__ import annotations

from typing import Any

from .keras_executed import BodyCalls, EagerWay
from .keras_import import keras, tf
from .keras_slots import slots_of
from .keras_tf import KerasOptimizer
from .protocol import Gradients

CALLS_PYTHON = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
"""Operations by which a graph goes back to Python in the middle of a step."""


def in_graph(_: Any) -> bool:
    """Return whether TensorFlow is tracing, whatever the argument is."""
    return not tf.executing_eagerly()


def eager(optimizer: KerasOptimizer) -> EagerWay:
    """Return the way of steps that TensorFlow traces nowhere."""
    return EagerWay(optimizer, optimizer.optimizer, in_graph)


class TracedWay:
    """The body of the rule ran while it was traced, once for every pattern of gradients; the steps run graphs.

    `compiled` asks besides that XLA has to compile every graph, and does.
    """

    def __init__(self, optimizer: KerasOptimizer, *, compiled: bool) -> None:
        self._optimizer, self._compiled = optimizer, compiled
        self._body = BodyCalls(optimizer.optimizer, in_graph)
        self._made = 0
        self._count = _iterations(optimizer.optimizer)

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update."""
        self._optimizer.step(gradients, lr)
        self._made += any(gradient is not None for gradient in gradients.values())

    def seen(self) -> tuple[bool, str]:
        """Return whether all steps were graphs, traced once each, that do not go back to Python."""
        functions = [made for one in self._optimizer.lists for made in one.functions]
        traces = sum(function.experimental_get_tracing_count() for function, _ in functions)
        back = sorted({kind for _, graph in functions for kind in _operations(graph)} & CALLS_PYTHON)
        counted = _iterations(self._optimizer.optimizer)
        made = self._made if counted is None or self._count is None else counted - self._count
        good = 0 < traces == len(functions) and made == self._made > 0 and not back
        good = good and self._body.traced > 0 and not self._body.with_values
        said = (
            f"{made} of {self._made} steps by {len(functions)} graph(s) traced {traces} time(s), "
            f"{self._body.method} ran {self._body.with_values} times eagerly"
        )
        if back:
            said += f", the graph calls Python by {', '.join(back)}"
        if self._compiled:
            compiled = sum(self._is_compiled(function, graph) for function, graph in functions)
            good = good and compiled == len(functions)
            said += f", XLA must compile {compiled} of them and has"
        return good, said

    def _is_compiled(self, function: Any, graph: Any) -> bool:
        """Return whether XLA has to compile `graph`, and shows what it makes of it."""
        if not graph.function_def.attr["_XlaMustCompile"].b:
            return False
        with tf.device(self._optimizer.device):
            given = [tf.zeros(spec.shape, spec.dtype) for spec in graph.structured_input_signature[0]]
            text = function.experimental_get_compiler_ir(*given)(stage="hlo")
        return str(text).startswith("HloModule")


def misplaced(optimizer: KerasOptimizer, device: str) -> list[str]:
    """Return the names of parameters and state that do not live on `device`, `cpu` or `gpu:N`.

    The step count and the learning rate are left out: Keras keeps such scalars where it wants.
    """
    kind, _, index = device.partition(":")
    ending = f"/device:{kind.upper()}:{index or 0}"
    found: dict[str, Any] = {}
    for one in optimizer.lists:
        found |= one.variables
        for slot, variables in slots_of(one.optimizer, one.variables).items():
            found |= {f"{slot} of {name}": variable for name, variable in variables.items()}
    return [name for name, variable in found.items() if not _lies(variable, ending)]


def _lies(variable: Any, ending: str) -> bool:
    """Return whether a variable of Keras or of TensorFlow is one of TensorFlow's, on the device so called."""
    tensor = variable.value if isinstance(variable, keras.Variable) else variable
    return isinstance(tensor, tf.Variable) and tensor.device.endswith(ending)


def _iterations(optimizer: Any) -> int | None:
    """Return how many steps the optimizer counts, None where it counts none."""
    count = getattr(optimizer, "iterations", None)
    return None if count is None else int(count)


def _operations(graph: Any) -> set[str]:
    """Return the kinds of operation in a traced function, those of functions that it calls included."""
    definition = graph.graph.as_graph_def()
    called = {node.op for function in definition.library.function for node in function.node_def}
    return {node.op for node in definition.node} | called
