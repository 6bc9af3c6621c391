"""A sparse gradient should decay the rows that a dense one decays (OC407).

What it runs: a few steps with decay and without, on gradients of matrices in which every second row has an entry;
what differs in a row is its decay. The same on dense gradients with the same numbers says which rows should decay.
The rows are the same in every step, so that one without an entry has no momentum that could move it.

When it applies: wherever the target takes sparse gradients, with decay. Cost: at most two walks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...adapters.errors import StepFailed
from ...adapters.protocol import Optimizer, SparseRows
from ..subject import Arrays, read
from .needs import DECAY, REPRODUCIBLE, needs
from .setting import Outcome, Setting

CONVENTIONS: Mapping[str, str] = {
    "torch": "torch.optim refuses weight decay on a sparse gradient (Adagrad: 'weight_decay option is not compatible "
    "with sparse gradients'), and SparseAdam, which moves only rows with an entry, has no such option",
    "tensorflow": "Keras decays the whole variable (BaseOptimizer._apply_weight_decay)",
}
"""Framework -> what its own optimizers do, and where it says so. JAX and NumPy have no sparse gradients."""

_STEPS = 3

Rows = dict[str, NDArray[np.bool_]]


@needs(DECAY, REPRODUCIBLE)
def sparse_check(setting: Setting) -> Iterator[Outcome]:
    """Yield for every matrix whether rows without an entry decay, where those with one do."""
    matrices = [name for name, value in setting.theta.items() if value.ndim > 1 and len(value) > 1]
    if not matrices:
        yield Outcome("skipped", "no parameter is a matrix of two rows or more")
        return
    try:
        decaying = _decaying_rows(setting, matrices, sparse=True)
    except StepFailed as error:
        yield Outcome("skipped", f"it refuses sparse gradients, or decay with them: {error}")
        return
    expected = _decaying_rows(setting, matrices, sparse=False)
    for name in matrices:
        yield _judged(name, decaying[name], expected[name], CONVENTIONS.get(setting.subject.target.framework))


def _decaying_rows(setting: Setting, matrices: Sequence[str], *, sparse: bool) -> Rows:
    """Return the rows of each matrix that decay changes in a few steps, shape (rows,)."""
    decayed = _walked(setting, setting.build(), matrices, sparse=sparse)
    free = _walked(setting, setting.subject.build_without_decay(setting.theta, setting.values), matrices, sparse=sparse)
    return {name: np.any(decayed[name] != free[name], axis=tuple(range(1, decayed[name].ndim))) for name in matrices}


def _walked(setting: Setting, optimizer: Optimizer, matrices: Sequence[str], *, sparse: bool) -> Arrays:
    """Return where gradients of every second row of `matrices` lead; all other parameters have none."""
    for step in setting.steps[:_STEPS]:
        gradients: dict[str, NDArray[Any] | SparseRows | None] = dict.fromkeys(step.gradients)
        for name in matrices:
            grad = step.gradients[name]
            if grad is not None:
                rows = _every_second_row(grad)
                gradients[name] = rows if sparse else rows.dense()
        optimizer.step(gradients, setting.lr(step))
    return read(optimizer)


def _every_second_row(grad: NDArray[Any]) -> SparseRows:
    indices = np.arange(0, len(grad), 2)
    return SparseRows(indices, grad[indices], grad.shape)


def _judged(name: str, decaying: NDArray[np.bool_], expected: NDArray[np.bool_], convention: str | None) -> Outcome:
    """Return the outcome for one matrix, of the rows that decay on a sparse and on a dense gradient."""
    if not (expected & ~decaying).any():
        return Outcome("passed", "every row decays that decays on a dense gradient", variant=name)
    with_entry = np.arange(len(decaying)) % 2 == 0
    where = "only in rows that have an entry" if not (decaying & ~with_entry).any() else "not in every row"
    if not decaying.any():
        where = "in no row"
    return Outcome(
        "failed",
        f"on a sparse gradient {name!r} decays {where}: {decaying.sum()} of {len(decaying)}, and "
        f"{expected.sum()} on a dense gradient with the same numbers" + (f". {convention}" if convention else ""),
        parameter=name,
        evidence={
            "rows": len(decaying),
            "rows_with_entry": int(with_entry.sum()),
            "decaying": int(decaying.sum()),
            "decaying_on_dense": int(expected.sum()),
        },
        variant=name,
    )
