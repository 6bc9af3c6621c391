"""Cutting a trace: what is kept is the same bits, what does not hold any more is left out and said."""

import json

import numpy as np
import pytest

from optconform.adapters.protocol import SparseRows
from optconform.adapters.recording import GroupValues, TrainingStep
from optconform.conformance.recording.options import RecordingOptions
from optconform.conformance.traces import Parameter, TraceError, find_trace, open_trace, synthetic_trace
from optconform.conformance.traces.appending import TraceAppender
from optconform.conformance.traces.cutting import Cut, cut_trace
from optconform.conformance.traces.run import RecordedRun, Sample

N_STEPS = 12
STATES = {1: 101, 7: 207, 9: 209}
"""Step of the recorded trace that begins a stretch -> the run's number of it."""
SHAPES = {"w": (4, 6), "emb": (10, 3), "b": (5,), "late": (2, 2)}
JOINS = {"late": 5}
MISSING = {("b", 3), ("b", 8)}
SKIPPED = 6


def drawn(*key):
    return np.random.default_rng([*map(ord, "".join(map(str, key)))]).standard_normal


def parameter(name):
    return Parameter(name, SHAPES[name], "float32")


def theta(name, step):
    """Theta of `name` after `step`; its own start before it joined and until its first step."""
    before = JOINS.get(name, 1) - 1
    return drawn("theta", name, max(step, before))(SHAPES[name]).astype(np.float32)


def before(name, step):
    """Theta of `name` before `step`: where a stretch begins, what the steps that were not recorded have left."""
    return drawn("before", name, step)(SHAPES[name]).astype(np.float32) if step in STATES else theta(name, step - 1)


def gradient(name, step):
    if step == SKIPPED or (name, step) in MISSING or step < JOINS.get(name, 1):
        return None
    if name == "emb":
        rows = np.unique(drawn("rows", step)(4).view(np.uint64) % 10).astype(np.int64)
        return SparseRows(rows, drawn("g", name, step)((len(rows), 3)).astype(np.float32), SHAPES[name])
    return drawn("g", name, step)(SHAPES[name]).astype(np.float32)


def groups(step):
    lr = 0.1 if step < 4 else 0.05 if step < 8 else 0.01
    matrices = ("w", "emb") if step < JOINS["late"] else ("w", "emb", "late")
    return (
        GroupValues(matrices, {"lr": lr, "weight_decay": 0.1, "amsgrad": False}),
        GroupValues(("b",), {"lr": lr, "weight_decay": 0.0}),
    )


def state(step, names):
    return {
        "theta": {name: before(name, step) for name in names},
        "m": {name: drawn("m", name, step)(SHAPES[name]).astype(np.float32) for name in names},
        "step": {name: np.array(float(step)) for name in names},
    }


@pytest.fixture(autouse=True)
def _without_flushing(monkeypatch):
    """Leave out the flushes to the disk, which take most of the time here; the appender's own tests have them."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def record(tmp_path):
    """Record the run above, with theta after each of the first `snapshots` steps, with or without the states."""

    def recorded(*, snapshots=N_STEPS, states=True):
        folder = tmp_path / "run"
        folder.mkdir()
        names = [name for name in SHAPES if name not in JOINS]
        appender = TraceAppender(
            folder,
            folder,
            name="run",
            parameters=[parameter(name) for name in names],
            initial={name: theta(name, 0) for name in names},
            provenance={"model": "drawn"},
            run=RecordedRun("torch", "torch.optim.adamw:AdamW"),
            lr_base=None,
        )
        for step in range(1, N_STEPS + 1):
            for name in [name for name, joins in JOINS.items() if joins == step]:
                appender.join([parameter(name)], {name: theta(name, 0)})
                names.append(name)
            if states and step in STATES:
                appender.begin_segment(STATES[step], state(step, names))
            after = {name: theta(name, step) for name in names} if step <= snapshots else None
            gradients = {name: gradient(name, step) for name in names}
            appender.append(
                TrainingStep(
                    gradients, groups(step)[0].hyperparameters["lr"], groups(step), after, skipped=step == SKIPPED
                )
            )
            if step % 3 == 0:
                appender.flush()
        appender.close()
        return open_trace(folder)

    return recorded


def dense(name, step):
    found = gradient(name, step)
    return found.dense() if isinstance(found, SparseRows) else found


def same(one, other):
    return one is other if one is None or other is None else one.dtype == other.dtype and np.array_equal(one, other)


def test_steps_from_a_state_on(record, tmp_path):
    cut, lost = cut_trace(record(), tmp_path / "cut.trace", Cut(range(7, 11)))
    cut = open_trace(tmp_path / "cut.trace")
    assert lost == ()
    assert (cut.name, cut.n_steps) == ("cut", 4)
    assert [p.name for p in cut.parameters] == list(SHAPES)
    assert cut.multipliers == pytest.approx((0.5, 0.1, 0.1, 0.1), rel=1e-15)
    assert {name: value.tobytes() for name, value in cut.initial_parameters().items()} == {
        name: before(name, 7).tobytes() for name in SHAPES
    }
    for step in cut.steps():
        assert all(same(step.gradients[name], dense(name, step.index + 6)) for name in SHAPES)
        assert all(same(value, theta(name, step.index + 6)) for name, value in cut.parameters_after(step.index).items())
    assert cut.missing == {2: frozenset({"b"})}
    assert [(each.step, each.training_step) for each in cut.run.segments] == [(1, 207), (3, 209)]
    for segment, step in zip(cut.run.segments, (7, 9), strict=True):
        kept, expected = cut.state_before(segment), state(step, SHAPES)
        assert kept.keys() == expected.keys()
        assert all(same(kept[slot][name], value) for slot in kept for name, value in expected[slot].items())
    assert cut.run.skipped == frozenset()
    matrices, vectors = cut.run.groups
    assert (matrices.parameters, vectors.parameters) == (("w", "emb", "late"), ("b",))
    assert matrices.hyperparameters == {
        "lr": ((1, 0.05), (2, 0.01)),
        "weight_decay": ((1, 0.1),),
        "amsgrad": ((1, False),),
    }
    assert cut.provenance["model"] == "drawn"
    assert cut.provenance["cut_from"] == {
        "name": "run",
        "sha256": open_trace(tmp_path / "run").sha256,
        "steps": [7, 11],
        "initial": "theta before step 7",
    }


def test_steps_from_the_first_on_keep_who_joins_later(record, tmp_path):
    cut, lost = cut_trace(record(), tmp_path / "cut", Cut(range(1, 8)))
    cut = open_trace(tmp_path / "cut")
    assert lost == ()
    assert len(cut.index.added) == 1
    assert "late" not in cut.parameters_after(4)
    assert same(cut.parameters_after(5)["late"], theta("late", 5))
    assert cut.missing == record_missing(range(1, 8))
    assert cut.run.skipped == {SKIPPED}
    assert [each.step for each in cut.run.segments] == [1, 7]
    assert "steps" in cut.provenance["cut_from"]


def record_missing(steps):
    """Return what `Trace.missing` says of those steps."""
    absent = {step: frozenset(name for name in SHAPES if gradient(name, step) is None) for step in steps}
    return {step: names for step, names in absent.items() if names}


def test_sparse_rows_stay_sparse(record, tmp_path):
    cut, _ = cut_trace(record(), tmp_path / "cut", Cut(range(1, 4), ("emb",)))
    assert len(cut.index.rows) == len(cut.index.gradients)
    assert all(same(step.gradients["emb"], dense("emb", step.index)) for step in cut.steps())


@pytest.mark.parametrize("steps", [range(2, 5), range(8, 9), range(1, 6, 2), range(7, 12, 2)])
def test_without_the_state_there_is_nothing_to_judge_the_run_by(record, tmp_path, steps):
    cut, lost = cut_trace(record(), tmp_path / "cut", Cut(steps))
    cut = open_trace(tmp_path / "cut")
    assert len(lost) == 1
    assert "theta after each step and the states are left out; there is a state before step 1, 7, 9" in lost[0]
    assert (cut.run.segments, cut.run.after) == ((), ())
    assert cut.parameters_after(1) is None
    # Where it begins it begins at the theta of the run all the same.
    first = steps[0]
    assert all(
        same(value, before(name, first) if first > 1 else theta(name, 0))
        for name, value in cut.initial_parameters().items()
    )
    for step, whole in zip(cut.steps(), steps, strict=True):
        assert all(same(step.gradients[name], dense(name, whole)) for name in SHAPES)
    assert [group.at(cut.n_steps) for group in cut.run.groups] == [
        dict(each.hyperparameters) for each in groups(steps[-1])
    ]
    assert cut.run.skipped == {number for number, step in enumerate(steps, 1) if step == SKIPPED}


def test_every_other_step_that_has_a_state_keeps_it(record, tmp_path):
    cut, lost = cut_trace(record(), tmp_path / "cut", Cut(range(7, 10, 2)))
    assert lost == ()
    assert [(each.step, each.training_step) for each in cut.run.segments] == [(1, 207), (2, 209)]
    assert same(cut.parameters_after(2)["w"], theta("w", 9))


def test_theta_that_was_not_recorded_is_that_of_the_beginning(record, tmp_path):
    cut, lost = cut_trace(record(snapshots=0, states=False), tmp_path / "cut", Cut(range(8, 10)))
    assert lost == ("theta before step 8 was not recorded: the cut begins from theta_0 of the whole",)
    assert cut.provenance["cut_from"]["initial"] == "theta_0 of the whole"
    assert same(cut.initial_parameters()["w"], theta("w", 0))


def test_a_run_recorded_from_its_beginning_goes_on_without_states(record, tmp_path):
    cut, lost = cut_trace(record(states=False), tmp_path / "cut", Cut(range(1, 4)))
    assert (lost, cut.run.segments) == ((), ())
    assert same(cut.parameters_after(3)["w"], theta("w", 3))


def test_theta_that_ends_early(record, tmp_path):
    whole = record(snapshots=8)
    assert whole.parameters_after(9) is None
    cut, lost = cut_trace(whole, tmp_path / "cut", Cut(range(7, 12)))
    assert (lost, len(cut.run.segments)) == ((), 2)
    assert same(cut.parameters_after(2)["w"], theta("w", 8))
    assert cut.parameters_after(3) is None
    cut, _ = cut_trace(whole, tmp_path / "later", Cut(range(9, 12)))
    assert cut.run.after == ()
    assert same(cut.initial_parameters()["w"], before("w", 9))
    _, lost = cut_trace(whole, tmp_path / "last", Cut(range(11, 13)))
    assert lost[-1] == "theta before step 11 was not recorded: the cut begins from theta_0 of the whole"


def test_who_joins_after_the_cut_has_no_gradients_in_it(record, tmp_path):
    whole = record()
    cut, _ = cut_trace(whole, tmp_path / "cut", Cut(range(1, 4)))
    cut = open_trace(tmp_path / "cut")
    assert all("late" in cut.missing[step] and "late" not in cut.parameters_after(step) for step in (1, 2, 3))
    assert same(cut.initial_parameters()["late"], theta("late", 0))
    with pytest.raises(TraceError, match="no theta of 'late' after step 1"):
        cut_trace(whole, tmp_path / "alone", Cut(range(1, 4), ("late",)))
    cut, _ = cut_trace(whole, tmp_path / "alone", Cut(range(7, 9), ("late",)))
    assert same(cut.parameters_after(1)["late"], theta("late", 7))


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (("w",), ["w"]),
        (("late", "w"), ["w", "late"]),
        (("*b",), ["emb", "b"]),
        (("[!w]*",), ["emb", "b", "late"]),
        (("*", "w"), list(SHAPES)),
    ],
)
def test_parameters_by_name_and_pattern(record, tmp_path, asked, kept):
    cut, _ = cut_trace(record(), tmp_path / "cut", Cut(parameters=asked))
    assert [p.name for p in cut.parameters] == [name for name in SHAPES if name in kept]
    assert cut.n_steps == N_STEPS
    assert sorted(name for group in cut.run.groups for name in group.parameters) == sorted(kept)
    assert cut.provenance["cut_from"]["parameters"] == list(asked)
    assert "steps" not in cut.provenance["cut_from"]


def test_a_name_is_no_pattern(tools, tmp_path):
    names = ("w[0]", "w0")
    trace = synthetic_trace("mixed", shapes=dict.fromkeys(names, (3,)), n_steps=2)
    cut, _ = cut_trace(trace, tmp_path / "cut", Cut(parameters=("w[0]",)))
    assert [p.name for p in cut.parameters] == ["w[0]"]


def test_coordinates_are_those_that_a_recording_draws(record, tmp_path):
    cut, lost = cut_trace(record(), tmp_path / "cut", Cut(range(7, 12), coordinates=7, seed=3))
    cut = open_trace(tmp_path / "cut")
    assert lost == ()
    options = RecordingOptions(sample=7, seed=3)
    assert cut.run.sample == Sample(7, 3)
    for each in cut.parameters:
        drawn_there = options.coordinates(each.name, SHAPES[each.name])
        if drawn_there is None:
            assert (each, cut.coordinates(each.name)) == (parameter(each.name), None)
            drawn_there = np.arange(each.size)
        else:
            assert (each.shape, each.sampled_from) == ((7,), SHAPES[each.name])
            assert np.array_equal(cut.coordinates(each.name), drawn_there)
        assert same(cut.initial_parameters()[each.name].reshape(-1), before(each.name, 7).reshape(-1)[drawn_there])
        assert same(cut.parameters_after(2)[each.name].reshape(-1), theta(each.name, 8).reshape(-1)[drawn_there])
        held = cut.state_before(cut.run.segments[1])
        assert same(held["m"][each.name].reshape(-1), state(9, SHAPES)["m"][each.name].reshape(-1)[drawn_there])
        assert held["step"][each.name] == 9.0
        for step in cut.steps():
            whole = dense(each.name, step.index + 6)
            found = step.gradients[each.name]
            assert found is None if whole is None else same(found.reshape(-1), whole.reshape(-1)[drawn_there])


def test_a_sample_of_a_sample(record, tmp_path):
    once, _ = cut_trace(record(), tmp_path / "once", Cut(coordinates=9, parameters=("w", "emb")))
    twice, _ = cut_trace(once, tmp_path / "twice", Cut(range(1, 3), coordinates=4, seed=1))
    twice = open_trace(tmp_path / "twice")
    assert twice.run.sample is None
    for each in twice.parameters:
        at = twice.coordinates(each.name)
        assert (each.shape, each.sampled_from) == ((4,), SHAPES[each.name])
        assert np.isin(at, once.coordinates(each.name)).all()
        for step in twice.steps():
            assert same(step.gradients[each.name], dense(each.name, step.index).reshape(-1)[at])
    history = twice.provenance["cut_from"]
    assert (history["coordinates"], history["seed"]) == (4, 1)
    assert (history["cut_from"]["name"], history["cut_from"]["coordinates"]) == ("run", 9)


def test_a_sample_that_is_no_smaller_stays_as_it_is(record, tmp_path):
    once, _ = cut_trace(record(), tmp_path / "once", Cut(coordinates=9))
    again, _ = cut_trace(once, tmp_path / "again", Cut(coordinates=30))
    assert again.parameters == once.parameters
    assert np.array_equal(again.coordinates("w"), once.coordinates("w"))
    assert again.run.sample == once.run.sample == Sample(9, 0)


@pytest.mark.parametrize("name", ["digits_mlp", "synthetic:mixed:4"])
def test_shipped_and_synthetic_traces(tools, tmp_path, name):
    whole = find_trace(name)
    cut, lost = cut_trace(whole, tmp_path / "cut", Cut(range(1, 5)))
    assert lost == ()
    assert cut.parameters == whole.parameters
    for one, other in zip(cut.steps(), whole.steps(4), strict=True):
        assert (one.index, one.multiplier) == (other.index, other.multiplier)
        assert all(same(one.gradients[key], value) for key, value in other.gradients.items())
    _, lost = cut_trace(whole, tmp_path / "later", Cut(range(3, 5)))
    assert lost == ("theta before step 3 was not recorded: the cut begins from theta_0 of the whole",)


def test_a_trace_without_steps(tools, tmp_path):
    empty = tools.tiny_trace(multipliers=(), gradients=())
    cut, _ = cut_trace(empty, tmp_path / "cut", Cut(parameters=("w",)))
    assert (cut.n_steps, [p.name for p in cut.parameters]) == (0, ["w"])
    with pytest.raises(TraceError, match="steps 1:2 of 0"):
        cut_trace(empty, tmp_path / "no", Cut(range(1, 2)))


def test_cutting_is_reproducible_and_may_replace_what_it_cuts(record, tmp_path):
    whole = record()
    cut = Cut(range(1, 5), coordinates=4)
    one, _ = cut_trace(whole, tmp_path / "cut", cut)
    other, _ = cut_trace(whole, tmp_path / "cut", cut, overwrite=True)
    assert one.sha256 == other.sha256
    replaced, _ = cut_trace(whole, tmp_path / "run", Cut(range(1, 3)), overwrite=True)
    assert open_trace(tmp_path / "run").sha256 == replaced.sha256
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cut", "run"]


@pytest.mark.parametrize(
    "steps", [range(3), range(5, 5), range(9, 2), range(1, 14), range(13, 14), range(20, 30), range(5, 1, -1)]
)
def test_steps_that_are_not_there(record, tmp_path, steps):
    with pytest.raises(TraceError, match=r"expected A:B with 1 <= A < B <= 13") as refused:
        cut_trace(record(), tmp_path / "cut", Cut(steps))
    assert f"steps {steps.start}:{steps.stop}" in str(refused.value)
    assert not (tmp_path / "cut").exists()


def test_a_parameter_that_is_not_there(record, tmp_path):
    whole = record()
    with pytest.raises(TraceError, match=r"no parameter 'lat'; .* Did you mean 'late'"):
        cut_trace(whole, tmp_path / "cut", Cut(parameters=("w", "lat")))
    with pytest.raises(TraceError, match=r"no parameter 'zz\*'; .* It has w, emb, b, late\."):
        cut_trace(whole, tmp_path / "cut", Cut(parameters=("zz*",)))


@pytest.mark.parametrize("options", [{"coordinates": 0}, {"coordinates": 2, "seed": -1}])
def test_samples_that_cannot_be(options):
    with pytest.raises(ValueError, match="should be at least"):
        Cut(**options)


def test_nothing_is_left_of_a_cut_that_fails(record, tmp_path):
    whole = record()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "notes.txt").write_text("mine")
    with pytest.raises(TraceError, match="something of this name"):
        cut_trace(whole, tmp_path / "cut", Cut(range(1, 3)))
    with pytest.raises(TraceError, match="something that is no trace"):
        cut_trace(whole, tmp_path / "cut", Cut(range(1, 3)), overwrite=True)
    shard = whole.index.gradients[1].file
    raw = bytearray((tmp_path / "run" / shard).read_bytes())
    raw[-4:] = np.float32(np.nan).tobytes()
    (tmp_path / "run" / shard).write_bytes(bytes(raw))
    with pytest.raises(TraceError, match="nan"):
        cut_trace(open_trace(tmp_path / "run", verify=False), tmp_path / "new", Cut(coordinates=24))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cut", "run"]


def test_the_index_says_what_was_cut(record, tmp_path):
    cut_trace(record(), tmp_path / "cut", Cut(range(7, 10, 2), ("w",), 5, 8))
    document = json.loads((tmp_path / "cut" / "index.json").read_text())
    entry = document["provenance"]["cut_from"]
    assert (entry["steps"], entry["parameters"], entry["coordinates"], entry["seed"]) == ([7, 10, 2], ["w"], 5, 8)


def test_all_that_a_trace_can_hold(tools, rich_trace, tmp_path):
    whole = open_trace(rich_trace)
    cut, lost = cut_trace(whole, tmp_path / "cut", Cut(parameters=("*",)))
    cut = open_trace(tmp_path / "cut")
    assert lost == ()
    assert tools.same(cut, whole)
    assert (cut.missing, cut.run.groups, cut.run.skipped) == (whole.missing, whole.run.groups, whole.run.skipped)
    for each in cut.parameters:
        assert same(cut.coordinates(each.name), whole.coordinates(each.name))
    for step in range(1, cut.n_steps + 1):
        one, other = cut.parameters_after(step), whole.parameters_after(step)
        assert one.keys() == other.keys()
        assert all(same(one[name], other[name]) for name in one)
    assert len(cut.run.segments) == len(whole.run.segments) == 3
    for one, other in zip(cut.run.segments, whole.run.segments, strict=True):
        assert (one.step, one.training_step) == (other.step, other.training_step)
        here, there = cut.state_before(one), whole.state_before(other)
        assert here.keys() == there.keys()
        assert all(here[slot].keys() == there[slot].keys() for slot in here)
        assert all(same(here[slot][name], there[slot][name]) for slot in here for name in here[slot])
