"""One pytest item for each optimizer and check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .checks import OPTIMIZER_CHECKS, require_known
from .optimizer import optimizer_of

if TYPE_CHECKING:
    import pytest


def parametrize_with_checks(optimizers: Iterable[Any]) -> pytest.MarkDecorator:
    """Return the decorator that makes one pytest item for each of `optimizers` and each check.

    The test it decorates takes `optimizer` and `check`, and calls `check(optimizer)`. An entry is a class, a factory,
    text such as `"optax:adamw"`, a pair `(target, options)`, or an `optconform.Optimizer`, which is what the test gets.
    Nothing is imported or run before the first item is; the audit that several checks share is run once. Ids are the
    same in every process: target and hyperparameters, then the check.

    Raises `ValueError` where there is no optimizer, where two have the same id, and where an expected failure names no
    check or rule; `TypeError` and `InvalidExpectation` as `Optimizer` does.

    >>> decorator = parametrize_with_checks(["optax:adamw", ("torch.optim:Adam", {"expect": "l2"})])
    >>> [each.id for each in decorator.args[1]][:2]
    ['optax:adamw-kind', 'optax:adamw-order']
    """
    import pytest  # needed by whoever calls this, and by nobody who imports the package

    entries = [optimizer_of(entry) for entry in optimizers]
    if not entries:
        raise ValueError("parametrize_with_checks was given no optimizer, so that nothing would be checked.")
    for name, count in Counter(optimizer.id for optimizer in entries).items():
        if count > 1:
            raise ValueError(
                f"{count} optimizers have the id {name!r}; tell them apart: optconform.Optimizer(..., label='...')."
            )
    for optimizer in entries:
        require_known(optimizer)
    items = [
        pytest.param(optimizer, check, id=f"{optimizer.id}-{check.id}")
        for optimizer in entries
        for check in OPTIMIZER_CHECKS
    ]
    return pytest.mark.parametrize(("optimizer", "check"), items)
