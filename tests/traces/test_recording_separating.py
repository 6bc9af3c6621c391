"""The shipped trace `separating` is worth what its provenance says, and comes from the search that ships with it."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from optconform.conformance.separability import common_pairs, every_pair, separations
from optconform.conformance.traces import catalog, find_trace, synthetic_trace, write_trace

FOLDER = Path(__file__).resolve().parents[2] / "scripts" / "record_traces"
NAME = "separating"


@pytest.fixture(scope="module")
def scripts():
    """The scripts that made the trace, by name."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        names = ("search_separating", "separating_objective", "separating_limits")
        search, objective, limits = (importlib.import_module(name) for name in names)
        yield SimpleNamespace(search=search, objective=objective, limits=limits)
    finally:
        sys.path.remove(str(FOLDER))
        for name in set(sys.modules) - before:
            if Path(getattr(sys.modules[name], "__file__", None) or "").parent == FOLDER:
                del sys.modules[name]


@pytest.fixture(scope="module")
def shipped():
    return find_trace(NAME)


def case_of(scripts, name):
    return next(case for case in scripts.objective.CASES if case.name == name)


def answer_of(scripts, trace):
    """Return the answer of a search that `trace` stands for."""

    def columns(name, absent_as):
        rows = [trace.initial_parameters()[name], *(step.gradients[name] for step in trace.steps())]
        return np.stack([absent_as if row is None else row.reshape(-1).astype(np.float64) for row in rows])

    ((absent, names),) = trace.missing.items()
    assert names == {"vector"}
    shape = trace.parameters[0].shape
    schedule = scripts.search.Schedule(trace.multipliers, absent)
    zeros = np.zeros(shape[0])
    return scripts.search.Answer(schedule, shape, columns("matrix", zeros), columns("vector", zeros), 0)


def test_it_is_a_few_kilobytes(shipped):
    assert sum(file.stat().st_size for file in (catalog.SHIPPED_FOLDER / NAME).iterdir()) < 4096
    assert [(p.name, len(p.shape), p.dtype) for p in shipped.parameters] == [
        ("matrix", 2, "bfloat16"),
        ("vector", 1, "bfloat16"),
    ]
    assert len(set(shipped.multipliers)) == shipped.n_steps
    assert len(shipped.missing) == 1


@pytest.mark.parametrize("name", ["sgd, probe, bfloat16", "sgd, ordinary, bfloat16", "adam, ordinary, float32"])
def test_it_is_worth_what_its_provenance_says(scripts, shipped, name):
    found = scripts.objective.worth(shipped, case_of(scripts, name))
    assert scripts.objective.shown(found) == shipped.provenance["cases"][name]
    assert scripts.objective.UNKNOWN not in found.limits
    assert found.told_apart + sum(found.limits.values()) == found.pairs


def test_the_sum_is_that_of_its_cases(scripts, shipped):
    said = shipped.provenance
    assert set(said["cases"]) == {case.name for case in scripts.objective.CASES}
    found = list(said["cases"].values())
    n_bytes = answer_of(scripts, shipped).n_bytes
    assert said["value"] == sum(each["credits"] for each in found) - scripts.objective.CREDITS_PER_BYTE * n_bytes
    assert sum(said["inseparable"].values()) == sum(each["pairs"] - each["told_apart"] for each in found)
    assert set(said["inseparable"]) <= set(scripts.limits.LIMITS)
    # Nothing known keeps these together, and the search has found where they part.
    assert all(each["least"] > 1.0 for each in found)


def test_the_arrays_and_the_script_give_the_same_bytes(scripts, shipped, tmp_path):
    anew = scripts.search.as_trace(answer_of(scripts, shipped))
    for fixed in ("source", "model", "seed", "generator", "search", "script", "date"):
        assert anew.provenance[fixed] == shipped.provenance[fixed]
    written = write_trace(replace(anew, provenance=shipped.provenance), tmp_path / NAME)
    assert written.sha256 == shipped.sha256


@pytest.mark.parametrize("weaken", ["constant schedule", "large parameters", "synthetic"])
def test_a_weaker_trace_is_worth_less(scripts, shipped, weaken):
    trace = scripts.search.as_trace(answer_of(scripts, shipped))
    ones = {name: np.ones_like(value) for name, value in trace.initial.items()}
    weaker = {
        "constant schedule": replace(trace, multipliers=(1.0,) * trace.n_steps),
        "large parameters": replace(trace, initial=ones),
        "synthetic": synthetic_trace("small", dtype="bfloat16"),
    }[weaken]
    case = case_of(scripts, "sgd, probe, bfloat16")
    assert scripts.objective.worth(weaker, case).credits < shipped.provenance["cases"][case.name]["credits"]


def test_a_small_search_is_the_same_twice_and_says_what_it_found(scripts, monkeypatch):
    case = case_of(scripts, "sgd, ordinary, bfloat16")
    monkeypatch.setattr(scripts.search, "CASES", (case,))
    for module in (scripts.search, scripts.objective):
        monkeypatch.setattr(module, "every_pair", common_pairs)
    effort = scripts.search.Effort(schedules=3, scouts=8, pool=24, rounds=2, variants=12)
    first, second, other = (scripts.search.search(effort, seed, map) for seed in (1, 1, 2))
    assert first.schedule == second.schedule != other.schedule
    np.testing.assert_array_equal(first.matrix, second.matrix)
    np.testing.assert_array_equal(first.vector, second.vector)
    assert scripts.objective.worth(scripts.search.as_trace(first), case).credits == first.credits


def test_the_choice_covers_what_can_be_covered(scripts):
    earned = np.array([[8, 8, 0, 0, 0], [0, 8, 8, 8, 0], [8, 0, 0, 0, 8], [0, 0, 8, 0, 0]], np.int8)
    vector = np.array([[0, 0, 0, 0, 1], [0, 0, 0, 8, 0]], np.int8)
    # Greedily 1, then 0 or 2; the vector adds what one of its two has left.
    chosen, total = scripts.search.picked([(earned, 2), (vector, 1)])
    assert total == 40
    assert sorted(chosen[0]) == [1, 2]
    assert scripts.search.picked([(earned, 1)]) == ([[1]], 24)


def test_every_number_is_exact_in_bfloat16(scripts):
    rng = np.random.Generator(np.random.PCG64(3))
    drawn = scripts.search.drawn_coordinates(rng, 500, 6)
    for numbers in (drawn, scripts.search.varied(rng, drawn, 500)):
        stored = numbers.astype(scripts.search.DTYPES["bfloat16"]).astype(np.float64)
        np.testing.assert_array_equal(stored, numbers)


def test_limits_hold_back_no_pair_that_ought_to_part(scripts, shipped):
    case = case_of(scripts, "sgd, probe, float32")
    where = scripts.limits.Circumstances(case.values, shipped.multipliers, case.dtype)
    found = separations(shipped, case.values, case.dtype, pairs=every_pair(case.values))
    assert [scripts.limits.limit_of(pair, where) for pair in found] == [None] * len(found)
