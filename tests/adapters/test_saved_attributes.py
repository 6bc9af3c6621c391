"""State that optimizers keep on themselves: what is saved, what stays the instance's own."""

import threading

import numpy as np
import pytest

from optconform.adapters.saved_attributes import first_values, restore, save

pytestmark = pytest.mark.numpy


def rebuilt(start, steps, other=None):
    """Build a dictionary, let it change, save, change on, restore it (or into `other`); return the result."""
    values = start()
    first = first_values(values, ())
    for step in steps:
        step(values)
    saved = save(values, first, (), ())
    into = values if other is None else other()
    own_first = first if other is None else first_values(into, ())
    for step in steps:
        step(into)
    restore(into, saved, own_first, (), ())
    return into


def count(values):
    values["t"] += 1


def test_changed_values_are_saved():
    assert rebuilt(lambda: {"t": 0}, [count, count]) == {"t": 2}


def test_unchanged_values_stay_the_instances_own():
    into = rebuilt(lambda: {"t": 0, "decay": 0.5}, [count], lambda: {"t": 0, "decay": 0.0})
    assert into == {"t": 1, "decay": 0.0}


def test_unchanged_value_that_changes_later_is_put_back():
    values = {"t": 0, "buffer": np.zeros(2)}
    first = first_values(values, ())
    saved = save(values, first, (), ())
    values["buffer"] += 1
    values["t"] = 9
    restore(values, saved, first, (), ())
    assert values["t"] == 0
    np.testing.assert_array_equal(values["buffer"], [0, 0])
    values["buffer"] += 1  # what was restored is a copy
    restore(values, saved, first, (), ())
    np.testing.assert_array_equal(values["buffer"], [0, 0])


def test_value_that_vanished_before_saving_stays_away():
    values = {"once": 1, "t": 0}
    first = first_values(values, ())
    del values["once"]
    saved = save(values, first, (), ())
    values["t"] = 3
    restore(values, saved, first, (), ())
    assert values == {"t": 0}


def test_what_cannot_be_copied_is_left_alone():
    lock = threading.Lock()
    values = {"lock": lock, "t": 0}
    first = first_values(values, ())
    count(values)
    saved = save(values, first, (), ())
    restore(values, saved, first, (), ())
    assert values == {"lock": lock, "t": 1}


def test_skipped_names_are_neither_saved_nor_restored():
    values = {"lr": 0.1, "t": 0}
    first = first_values(values, (), {"lr"})
    values["lr"] = 0.2
    saved = save(values, first, (), {"lr"})
    assert "lr" not in saved.changed
    values["lr"] = 0.3
    restore(values, saved, first, (), {"lr"})
    assert values["lr"] == 0.3


class Anchor:
    """Stands for a parameter: compared and hashed by identity."""


def test_anchors_are_exchanged_for_the_instances_own():
    old, new = Anchor(), Anchor()
    values = {"buffers": {old: 0.0}}
    first = first_values(values, (old,))
    values["buffers"][old] = 5.0
    saved = save(values, first, (old,), ())
    into = {"buffers": {new: 0.0}}
    restore(into, saved, first_values(into, (new,)), (new,), ())
    assert into == {"buffers": {new: 5.0}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([1, 2], [1, 3]),
        ({"a": 1}, {"a": 1, "b": 2}),
        ((1, np.zeros(2)), (1, np.ones(2))),
        (1, 1.0),
        (None, 0),
        ("a", "b"),
    ],
)
def test_every_kind_of_change_is_seen(before, after):
    values = {"x": before}
    first = first_values(values, ())
    assert not save(values, first, (), ()).changed
    values["x"] = after
    assert "x" in save(values, first, (), ()).changed
