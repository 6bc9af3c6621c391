"""Recording PyTorch optimizers: training stays the same bits, and the trace holds what the update rule was given."""

import copy
import errno
import gc
import io
import pickle
import runpy
import sys
import warnings
import weakref
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import optconform  # noqa: E402
from optconform.adapters import torch_recording  # noqa: E402
from optconform.adapters.torch_tensors import to_array  # noqa: E402
from optconform.conformance.traces import appending, open_trace  # noqa: E402

pytestmark = pytest.mark.torch


def model_of(dtype=torch.float32):
    torch.manual_seed(5)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).to(dtype)


def backward(model, step):
    """Gradients of one batch, the same at each call."""
    first = next(model.parameters())
    inputs = torch.randn(4, 6, generator=torch.Generator().manual_seed(step)).to(first.dtype)
    loss = model(inputs).square().mean()
    loss.backward()
    return loss


def train(model, optimizer, steps=4, scheduler=None, seen=None):
    for step in range(steps):
        optimizer.zero_grad()
        backward(model, step)
        gradients = {name: to_array(p.grad) for name, p in model.named_parameters()}
        optimizer.step()
        if seen is not None:
            seen.append((gradients, {name: to_array(p) for name, p in model.named_parameters()}))
        if scheduler is not None:
            scheduler.step()


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key in left:
        assert left[key].dtype == right[key].dtype, key
        assert left[key].tobytes() == right[key].tobytes(), key


def bits(model, optimizer):
    """Parameters and state as bytes."""
    buffer = io.BytesIO()
    torch.save((model.state_dict(), optimizer.state_dict()), buffer)
    return buffer.getvalue()


KINDS = {
    "sgd": (torch.optim.SGD, {"lr": 0.1, "foreach": False}),
    "sgd-momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "foreach": True}),
    # Without momentum, of which the fused kernel of torch 2.13 leaves parts uninitialised in 16 bits.
    "sgd-fused": (torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.1, "fused": True}),
    "adam": (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1, "foreach": False}),
    "adamw-foreach": (torch.optim.AdamW, {"lr": 0.01, "amsgrad": True, "foreach": True}),
    "adamw-fused": (torch.optim.AdamW, {"lr": 0.01, "maximize": True, "fused": True}),
    "adamw-tensor-lr": (torch.optim.AdamW, {"lr": torch.tensor(0.01)}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01, "centered": True}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.01}),
    "adafactor": (torch.optim.Adafactor, {"lr": 0.01}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_training_is_the_same_bits_with_and_without(kind, dtype, tmp_path):
    make, options = KINDS[kind]
    results = []
    for recorded in (False, True):
        model = model_of(dtype)
        optimizer = make(model.parameters(), **copy.deepcopy(options))
        train(model, optimizer, 2)
        if recorded:
            with optconform.record(optimizer, tmp_path / "run.trace", snapshots=True, sample=5, every=2):
                train(model, optimizer, 5)
        else:
            train(model, optimizer, 5)
        results.append(bits(model, optimizer))
    assert results[0] == results[1]
    assert open_trace(tmp_path / "run.trace").n_steps == 3


@pytest.mark.parametrize("sample", [None, 7])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_trace_holds_what_the_rule_was_given(dtype, sample, tmp_path):
    model = model_of(dtype)
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.5, momentum=0.9)
    initial = {name: to_array(p) for name, p in model.named_parameters()}
    seen = []
    with optconform.record(optimizer, tmp_path / "run.trace", snapshots=True, sample=sample):
        train(model, optimizer, 3, seen=seen)
    trace = open_trace(tmp_path / "run.trace")

    def kept(arrays):
        places = {name: trace.coordinates(name) for name in arrays}
        return {name: a if places[name] is None else a.reshape(-1)[places[name]] for name, a in arrays.items()}

    assert [p.sampled_from for p in trace.parameters] == ([(8, 6), (8,), (2, 8), None] if sample else [None] * 4)
    assert_same(trace.initial_parameters(), kept(initial))
    assert trace.n_steps == 3
    for step, (gradients, after) in zip(trace.steps(), seen, strict=True):
        assert_same(step.gradients, kept(gradients))
        assert_same(trace.parameters_after(step.index), kept(after))
    (segment,) = trace.run.segments
    assert_same(trace.state_before(segment)["theta"], trace.initial_parameters())
    assert trace.run.optimizer == "torch.optim.sgd:SGD"
    assert trace.provenance["versions"]["torch"] == torch.__version__


def test_groups_and_schedules_have_canonical_names(tmp_path):
    model = model_of()
    first, second = model[0], model[2]
    groups = [
        {"params": first.parameters(), "lr": torch.tensor(0.5), "clip": float("inf"), "mask": len, "sizes": (1, 2)},
        {"params": second.parameters(), "lr": 0.1, "weight_decay": 0.0, "betas": (0.5, 0.75)},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.25)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    with optconform.record(optimizer, tmp_path / "run.trace", model=model):
        train(model, optimizer, 2, scheduler)
        optimizer.param_groups[1]["betas"] = (0.5, 0.5)
        train(model, optimizer, 1, scheduler)
    trace = open_trace(tmp_path / "run.trace")
    decayed, plain = trace.run.groups
    assert decayed.parameters == ("0.weight", "0.bias")
    assert decayed.hyperparameters["lr"] == ((1, 0.5), (3, 0.25))
    assert decayed.hyperparameters["weight_decay"] == ((1, 0.25),)
    assert decayed.hyperparameters["sizes"] == ((1, [1, 2]),)
    assert not decayed.hyperparameters.keys() & {"clip", "mask", "params", "betas"}
    assert plain.at(2)["beta2"] == 0.75
    assert plain.at(3)["beta2"] == 0.5
    assert plain.at(3)["weight_decay"] == 0.0
    assert trace.multipliers == (1.0, 1.0, 0.5)


def test_a_schedule_under_way_is_relative_to_where_it_began(tmp_path):
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    train(model, optimizer, 2, scheduler)
    with optconform.record(optimizer, tmp_path / "run.trace"):
        train(model, optimizer, 2, scheduler)
    assert open_trace(tmp_path / "run.trace").multipliers == (0.25, 0.125)


class TestNames:
    def names(self, optimizer, models, path, **arguments):
        with optconform.record(optimizer, path, **arguments):
            for model in models:
                backward(model, 0)
            optimizer.step()
        return [p.name for p in open_trace(path).parameters]

    def test_place_where_nobody_names_them(self, tmp_path):
        model = model_of()
        groups = [{"params": [p]} for p in model[0].parameters()] + [{"params": list(model[2].parameters())}]
        names = self.names(torch.optim.SGD(groups), [model], tmp_path / "run.trace")
        assert names == ["0.0", "1.0", "2.0", "2.1"]

    def test_those_of_a_model(self, tmp_path):
        model = model_of()
        optimizer = torch.optim.SGD([model[2].weight, torch.nn.Parameter(torch.ones(2))])
        assert self.names(optimizer, [model], tmp_path / "run.trace", model=model) == ["2.weight", "0.1"]

    @pytest.mark.parametrize("kind", [dict, list])
    def test_those_given(self, kind, tmp_path):
        model = model_of()
        names = kind({"w": model[0].weight, "v": model[2].weight}.items())
        optimizer = torch.optim.SGD([model[2].weight, model[0].weight])
        assert self.names(optimizer, [model], tmp_path / "run.trace", names=names) == ["v", "w"]

    def test_the_same_name_in_two_models(self, tmp_path):
        models = [model_of(), model_of()]
        optimizer = torch.optim.SGD([{"params": list(each[0].named_parameters())} for each in models])
        found = self.names(optimizer, models, tmp_path / "run.trace")
        assert found == ["weight", "bias", "1.0.weight", "1.1.bias"]

    def test_a_shared_parameter_is_one(self, tmp_path):
        model = model_of()
        model.tied = torch.nn.ParameterList([model[0].weight])
        del model.tied
        optimizer = torch.optim.SGD(model.parameters())
        other = torch.nn.Sequential(model[0], model[0])
        found = self.names(
            optimizer, [model], tmp_path / "run.trace", names=other.named_parameters(remove_duplicate=False)
        )
        assert found == ["0.weight", "0.bias", "0.2", "0.3"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"model": [1]}, "model is a list, but should be a torch.nn.Module"),
            ({"names": [1, 2]}, "should be pairs of a name and a parameter"),
            ({"names": {"w": 1}}, "gives 'w' to a int"),
        ],
    )
    def test_wrong_names_are_refused_before_anything_is_written(self, arguments, message, tmp_path):
        with pytest.raises(TypeError, match=message):
            optconform.record(torch.optim.SGD(model_of().parameters()), tmp_path / "run.trace", **arguments)
        assert list(tmp_path.iterdir()) == []


def test_missing_gradients_and_frozen_parameters(tmp_path):
    model = model_of()
    model[0].bias.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.named_parameters())
    with optconform.record(optimizer, tmp_path / "run.trace", snapshots=True):
        for step in range(3):
            optimizer.zero_grad()
            backward(model, step)
            if step == 1:
                model[2].weight.grad = None
            optimizer.step()
    trace = open_trace(tmp_path / "run.trace")
    assert trace.missing == {1: {"0.bias"}, 2: {"0.bias", "2.weight"}, 3: {"0.bias"}}
    assert_same(trace.parameters_after(3), {name: to_array(p) for name, p in model.named_parameters()})


@pytest.mark.parametrize("sample", [None, 16])
def test_sparse_gradients(sample, tmp_path):
    torch.manual_seed(3)
    embedding = torch.nn.Embedding(50, 4, sparse=True)
    optimizer = torch.optim.SparseAdam(embedding.named_parameters())
    dense = []
    batches = [torch.tensor([3, 7, 3]), torch.arange(50), torch.tensor([], dtype=torch.int64), torch.tensor([49])]
    with optconform.record(optimizer, tmp_path / "run.trace", sample=sample):
        for batch in batches:
            optimizer.zero_grad()
            embedding(batch).square().sum().backward()
            dense.append(to_array(embedding.weight.grad.to_dense()))
            optimizer.step()
    trace = open_trace(tmp_path / "run.trace")
    places = trace.coordinates("weight")
    for step, whole in zip(trace.steps(), dense, strict=True):
        expected = whole if places is None else whole.reshape(-1)[places]
        assert_same({"weight": step.gradients["weight"]}, {"weight": expected})
    assert bool(trace.index.rows) == (sample is None)


def test_gradients_in_another_memory_order(tmp_path):
    model = model_of()
    optimizer = torch.optim.SGD([model[0].weight], lr=0.1)
    gradient = torch.arange(48.0).reshape(6, 8).t()
    for sample in (None, 5):
        path = tmp_path / f"{sample}.trace"
        with optconform.record(optimizer, path, sample=sample):
            model[0].weight.grad = gradient
            optimizer.step()
        trace = open_trace(path)
        places = trace.coordinates("0.0")
        expected = to_array(gradient) if places is None else to_array(gradient).reshape(-1)[places]
        np.testing.assert_array_equal(next(trace.steps()).gradients["0.0"], expected)


def test_parameters_that_join_later(tmp_path):
    model = model_of()
    optimizer = torch.optim.AdamW(model[0].parameters(), lr=0.1)
    with optconform.record(optimizer, tmp_path / "run.trace", model=model, snapshots=True, sample=10):
        train(model, optimizer, 2)
        optimizer.add_param_group({"params": list(model[2].parameters()), "lr": 0.3})
        joined = {"2.weight": to_array(model[2].weight), "2.bias": to_array(model[2].bias)}
        train(model, optimizer, 2)
    trace = open_trace(tmp_path / "run.trace")
    assert [p.name for p in trace.parameters] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert trace.missing == {1: joined.keys(), 2: joined.keys()}
    joined["2.weight"] = joined["2.weight"].reshape(-1)[trace.coordinates("2.weight")]
    assert_same({name: trace.initial_parameters()[name] for name in joined}, joined)
    assert trace.run.groups[1].hyperparameters["lr"] == ((3, 0.3),)
    assert trace.parameters_after(4)["2.weight"].shape == (10,)


def test_state_where_a_recording_begins_in_the_middle(tmp_path):
    model = model_of()
    optimizer = torch.optim.AdamW(model.named_parameters(), amsgrad=True)
    train(model, optimizer, 3)
    state = {name: copy.deepcopy(optimizer.state[p]) for name, p in model.named_parameters()}
    theta = {name: to_array(p) for name, p in model.named_parameters()}
    with optconform.record(optimizer, tmp_path / "run.trace", sample=9):
        train(model, optimizer, 2)
    trace = open_trace(tmp_path / "run.trace")
    (segment,) = trace.run.segments
    found = trace.state_before(segment)
    assert found.keys() == {"theta", "m", "v", "v_max", "step"}
    for name, array in theta.items():
        places = trace.coordinates(name)
        for slot, whole in (
            ("theta", array),
            ("m", to_array(state[name]["exp_avg"])),
            ("v", to_array(state[name]["exp_avg_sq"])),
            ("v_max", to_array(state[name]["max_exp_avg_sq"])),
        ):
            expected = whole if places is None else whole.reshape(-1)[places]
            np.testing.assert_array_equal(found[slot][name], expected, err_msg=slot)
        assert found["step"][name] == 3.0
        assert found["step"][name].dtype == np.float64


def test_state_that_no_trace_holds_is_left_out(tmp_path):
    model = model_of()
    optimizer = torch.optim.Adafactor(model.named_parameters())
    train(model, optimizer, 1)
    optimizer.state[model[0].bias]["odd/slot"] = torch.ones(8)
    optimizer.state[model[0].bias]["count"] = 3
    optimizer.state[model[0].bias]["limit"] = float("inf")
    optimizer.state[model[0].bias]["words"] = "text"
    with optconform.record(optimizer, tmp_path / "run.trace"):
        train(model, optimizer, 1)
    trace = open_trace(tmp_path / "run.trace")
    found = trace.state_before(trace.run.segments[0])
    assert found.keys() == {"theta", "step", "variance", "count"}  # row and column factors are of another shape
    assert found["count"]["0.bias"] == 3.0


class TestGradScaler:
    def scaled(self, model, optimizer, scaler, step, poison=False):
        optimizer.zero_grad()
        inputs = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        scaler.scale(model(inputs).square().mean() * (float("inf") if poison else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()

    @pytest.mark.parametrize("fused", [False, True])
    @pytest.mark.parametrize("scale", [1024.0, 3000.0])
    def test_gradients_are_unscaled_and_skipped_steps_known(self, fused, scale, tmp_path):
        results, given = [], []
        for recorded in (False, True):
            model = model_of()
            optimizer = torch.optim.AdamW(model.named_parameters(), lr=0.01, fused=fused)
            scaler = torch.amp.GradScaler("cpu", init_scale=scale)
            recording = optconform.record(optimizer, tmp_path / "run.trace", snapshots=True) if recorded else None
            for step in range(4):
                self.scaled(model, optimizer, scaler, step, poison=step == 2)
                given.append({name: to_array(p.grad) for name, p in model.named_parameters()})
            if recording is not None:
                recording.close()
            results.append(bits(model, optimizer))
        assert results[0] == results[1]
        trace = open_trace(tmp_path / "run.trace")
        # Without fused kernels the scaler does not call `step` at all; these leave the gradients unscaled behind.
        made = [0, 1, 2, 3] if fused else [0, 1, 3]
        assert trace.run.skipped == ({3} if fused else set())
        assert trace.n_steps == len(made)
        for step, number in zip(trace.steps(), made, strict=True):
            if number == 2:
                assert set(step.gradients.values()) == {None}
            else:
                assert_same(step.gradients, given[number])


def closing(optimizer, path, **options):
    """Record; return the recording and a function that trains, closes and returns the one warning."""
    recording = optconform.record(optimizer, path, **options)

    def finish(action):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            action()
            recording.close()
        (told,) = [each for each in caught if each.category is optconform.RecordingWarning]
        return str(told.message)

    return finish


def test_values_that_overflow_end_the_recording_alone(tmp_path):
    model = model_of()
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    finish = closing(optimizer, tmp_path / "run.trace")

    def action():
        train(model, optimizer, 2)
        model[0].weight.grad[3, 2] = float("nan")
        optimizer.step()
        train(model, optimizer, 2)

    message = finish(action)
    assert "nan in step 3 at flat index 20" in message
    assert "0.weight" in message
    assert "Training goes on; the trace keeps 2 steps." in message
    assert open_trace(tmp_path / "run.trace").n_steps == 2


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        (torch.ones(2, dtype=torch.complex64), "0.0 is complex64"),
        (torch.ones(2, dtype=torch.int32), "0.0 is int32"),
        (torch.ones(2, dtype=torch.float8_e4m3fn), "0.0 is float8_e4m3fn"),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_parameters_that_no_trace_holds(parameter, reason, tmp_path):
    optimizer = torch.optim.SGD([torch.nn.Parameter(parameter, requires_grad=False)], lr=0.1)
    message = closing(optimizer, tmp_path / "run.trace")(optimizer.step)
    assert f"{reason}, and only dense float64, float32, float16, bfloat16 can be recorded" in message
    assert "nothing was recorded" in message


def test_parameters_whose_values_are_elsewhere(tmp_path):
    class Sharded(torch.nn.Parameter):
        def __tensor_flatten__(self):
            raise AssertionError("nobody asks")

    optimizer = torch.optim.SGD([Sharded(torch.ones(2))], lr=0.1)
    message = closing(optimizer, tmp_path / "run.trace")(optimizer.step)
    assert "Sharded, whose values are spread or packed elsewhere" in message


class TestClosures:
    def test_gradients_are_those_that_the_closure_computes(self, tmp_path):
        results, seen = [], []
        for recorded in (False, True):
            model = model_of()
            optimizer = torch.optim.AdamW(model.named_parameters())

            def closure(model=model, optimizer=optimizer):
                optimizer.zero_grad()
                loss = backward(model, len(seen))
                seen.append({name: to_array(p.grad) for name, p in model.named_parameters()})
                return loss

            seen.clear()
            recording = optconform.record(optimizer, tmp_path / "run.trace") if recorded else None
            losses = [optimizer.step(closure).item(), optimizer.step(closure=closure).item()]
            if recording is not None:
                recording.close()
            results.append((losses, bits(model, optimizer)))
        assert results[0] == results[1]
        for step, gradients in zip(open_trace(tmp_path / "run.trace").steps(), seen, strict=True):
            assert_same(step.gradients, gradients)

    def test_more_than_one_call_in_a_step(self, tmp_path):
        results = []
        for recorded in (False, True):
            model = model_of()
            optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)

            def closure(model=model, optimizer=optimizer):
                optimizer.zero_grad()
                return backward(model, 0)

            if recorded:
                message = closing(optimizer, tmp_path / "run.trace")(partial(optimizer.step, closure))
            else:
                optimizer.step(closure)
            results.append(bits(model, optimizer))
        assert results[0] == results[1]
        assert "LBFGS calls its closure more than once in a step" in message

    def test_one_that_is_never_called(self, tmp_path):
        class Deaf(torch.optim.SGD):
            def step(self, closure=None):
                return super().step()

        model = model_of()
        optimizer = Deaf(model.parameters(), lr=0.1)
        message = closing(optimizer, tmp_path / "run.trace")(lambda: optimizer.step(lambda: None))
        assert "Deaf does not call the closure" in message


class TestSteps:
    def test_a_step_that_calls_that_of_its_base_class_is_one(self, tmp_path):
        class Halving(torch.optim.SGD):
            @torch.no_grad()
            def step(self, closure=None):
                for group in self.param_groups:
                    for p in group["params"]:
                        p.grad.mul_(0.5)
                return super().step(closure)

        model = model_of()
        torch.optim.SGD(model.parameters())  # the base class has its hooks from its first instance on
        optimizer = Halving(model.named_parameters(), lr=0.1)
        seen = []
        with optconform.record(optimizer, tmp_path / "run.trace", snapshots=True):
            train(model, optimizer, 3, seen=seen)
        trace = open_trace(tmp_path / "run.trace")
        assert trace.n_steps == 3
        for step, (gradients, after) in zip(trace.steps(), seen, strict=True):
            assert_same(step.gradients, gradients)
            assert_same(trace.parameters_after(step.index), after)

    def test_one_that_an_error_breaks_off(self, tmp_path):
        class Failing(torch.optim.SGD):
            def step(self, closure=None):
                if self.param_groups[0]["lr"] == 0.0:
                    raise MemoryError
                return super().step(closure)

        model = model_of()
        optimizer = Failing(model.parameters(), lr=0.1)

        def action():
            train(model, optimizer, 2)
            optimizer.param_groups[0]["lr"] = 0.0
            with pytest.raises(MemoryError):
                optimizer.step()
            optimizer.param_groups[0]["lr"] = 0.1
            train(model, optimizer, 1)

        assert "a step was broken off by an error" in closing(optimizer, tmp_path / "run.trace")(action)
        assert open_trace(tmp_path / "run.trace").n_steps == 2

    @pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
    def test_a_compiled_one(self, tmp_path):
        results, seen = [], []
        for recorded in (False, True):
            torch.compiler.reset()
            model = model_of()
            optimizer = torch.optim.AdamW(model.named_parameters(), lr=torch.tensor(0.01))
            optimizer.step = torch.compile(optimizer.step, backend="eager")
            recording = optconform.record(optimizer, tmp_path / "run.trace", snapshots=True) if recorded else None
            seen.clear()
            train(model, optimizer, 3, seen=seen)
            if recording is not None:
                recording.close()
            results.append([after for _, after in seen])
        torch.compiler.reset()
        for left, right in zip(*results, strict=True):
            assert_same(left, right)
        trace = open_trace(tmp_path / "run.trace")
        for step, (gradients, after) in zip(trace.steps(), seen, strict=True):
            assert_same(step.gradients, gradients)
            assert_same(trace.parameters_after(step.index), after)


class TestOptimizers:
    def test_copies_and_pickles_do_not_record(self, tmp_path):
        model = model_of()
        optimizer = torch.optim.AdamW(model.parameters())
        with optconform.record(optimizer, tmp_path / "run.trace"):
            train(model, optimizer, 1)
            copied = copy.deepcopy((model, optimizer))
            restored = pickle.loads(pickle.dumps((model, optimizer)))
            train(*copied, 2)
            train(*restored, 2)
            train(model, optimizer, 1)
        assert open_trace(tmp_path / "run.trace").n_steps == 2

    def test_two_recordings_of_one_are_independent(self, tmp_path):
        model = model_of()
        optimizer = torch.optim.AdamW(model.parameters())
        with optconform.record(optimizer, tmp_path / "outer.trace"):
            train(model, optimizer, 1)
            with optconform.record(optimizer, tmp_path / "inner.trace"):
                train(model, optimizer, 2)
            train(model, optimizer, 1)
        assert open_trace(tmp_path / "outer.trace").n_steps == 4
        assert open_trace(tmp_path / "inner.trace").n_steps == 2

    def test_nothing_is_left_behind(self, tmp_path):
        model = model_of()
        optimizer = torch.optim.AdamW(model.parameters())
        before = bits(model, optimizer), vars(optimizer).keys()
        with pytest.warns(optconform.RecordingWarning, match="the optimizer made no step"):
            optconform.record(optimizer, tmp_path / "run.trace").close()
        assert not optimizer._optimizer_step_pre_hooks
        assert not optimizer._optimizer_step_post_hooks
        assert (bits(model, optimizer), vars(optimizer).keys()) == before
        assert list(tmp_path.iterdir()) == []

    def test_a_recording_keeps_no_optimizer_alive(self, tmp_path):
        model = model_of()
        optimizer = torch.optim.AdamW(model.parameters())
        recording = optconform.record(optimizer, tmp_path / "run.trace")
        train(model, optimizer, 1)
        gone, parameter = weakref.ref(optimizer), weakref.ref(model[0].weight)
        gc.disable()
        try:
            del optimizer, model
            assert gone() is None
            assert parameter() is None
        finally:
            gc.enable()
        recording.close()
        assert recording.n_steps == 1

    def test_a_wrapper_without_hooks_is_refused(self, tmp_path):
        class Wrapper(torch.optim.Optimizer):
            def __init__(self, inner):
                self.inner = inner
                self.param_groups = inner.param_groups

            def step(self, closure=None):
                return self.inner.step(closure)

        with pytest.raises(TypeError, match="record the optimizer that it wraps"):
            optconform.record(Wrapper(torch.optim.SGD(model_of().parameters())), tmp_path / "run.trace")
        assert list(tmp_path.iterdir()) == []

    def test_a_wrapper_with_step_hooks_alone(self, tmp_path):
        class Wrapper(torch.optim.Optimizer):
            def __init__(self, inner):
                self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks = OrderedDict(), OrderedDict()
                self._patch_step_function()
                self.inner, self.defaults = inner, inner.defaults
                self.param_groups, self.state = inner.param_groups, inner.state

            def step(self, closure=None):
                return self.inner.step(closure)

        model = model_of()
        wrapper, seen = Wrapper(torch.optim.AdamW(model.named_parameters())), []
        with optconform.record(wrapper, tmp_path / "run.trace", snapshots=True):
            train(model, wrapper, 3, seen=seen)
        trace = open_trace(tmp_path / "run.trace")
        for step, (gradients, after) in zip(trace.steps(), seen, strict=True):
            assert_same(step.gradients, gradients)
            assert_same(trace.parameters_after(step.index), after)

    @pytest.mark.parametrize("at", ["before", "after"])
    def test_an_interrupt_while_reading_reaches_the_training(self, at, tmp_path, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        model = model_of()
        optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)

        def action():
            train(model, optimizer, 2)
            backward(model, 2)
            with monkeypatch.context() as patch:
                patch.setattr(torch_recording, "_gradients" if at == "before" else "marks_of_state", interrupt)
                with pytest.raises(KeyboardInterrupt):
                    optimizer.step()
            train(model, optimizer, 1)

        message = closing(optimizer, tmp_path / "run.trace", snapshots=True)(action)
        assert "an interrupt came while a step was read" in message
        assert open_trace(tmp_path / "run.trace").n_steps == 2

    def test_an_error_while_reading_ends_the_recording_alone(self, tmp_path):
        model = model_of()
        optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)

        def action():
            train(model, optimizer, 1)
            optimizer.param_groups[0]["params"].append(None)
            with pytest.raises(AttributeError):  # from torch itself
                optimizer.step()
            optimizer.param_groups[0]["params"].pop()
            train(model, optimizer, 1)

        message = closing(optimizer, tmp_path / "run.trace")(action)
        assert "reading the optimizer failed with AttributeError" in message


def test_steps_that_are_not_wanted_cost_nothing_to_speak_of(tmp_path, monkeypatch):
    model = model_of()
    optimizer = torch.optim.AdamW(model.named_parameters())
    gathered = []
    gather = torch_recording.gather
    monkeypatch.setattr(torch_recording, "gather", lambda *given: gathered.append(1) or gather(*given))
    with optconform.record(optimizer, tmp_path / "run.trace", steps=range(3, 5)):
        for _ in range(6):
            train(model, optimizer, 1)
    trace = open_trace(tmp_path / "run.trace")
    assert trace.n_steps == 2
    assert [segment.training_step for segment in trace.run.segments] == [3]
    assert len(gathered) == 4  # theta and gradients of the first, none and gradients of the second


def clamp(model, optimizer):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.clamp_(-0.1, 0.1)


def replace_data(model, optimizer):
    model[2].bias.data = torch.ones(2)


def load(model, optimizer):
    optimizer.load_state_dict(torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.5).state_dict())


def empty_state(model, optimizer):
    optimizer.state.clear()


def reset_moments(model, optimizer):
    for state in optimizer.state.values():
        for value in state.values():
            value.zero_()


@pytest.mark.parametrize("change", [clamp, replace_data, load, empty_state, reset_moments])
def test_a_new_stretch_begins_where_something_else_moves_the_run(change, tmp_path):
    model = model_of()
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=0.05, weight_decay=0.5)
    with optconform.record(optimizer, tmp_path / "run.trace", snapshots=True):
        train(model, optimizer, 3)
        change(model, optimizer)
        before = {name: to_array(p) for name, p in model.named_parameters()}
        train(model, optimizer, 3)
    trace = open_trace(tmp_path / "run.trace")
    assert [segment.step for segment in trace.run.segments] == [1, 4]
    state = trace.state_before(trace.run.segments[1])
    assert_same(state["theta"], before)
    assert set(map(float, state["step"].values())) == ({3.0} if change in (clamp, replace_data) else {0.0})


def test_a_full_disk_leaves_the_training_alone(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    results = []
    for recorded in (False, True):
        model = model_of()
        optimizer = torch.optim.AdamW(model.parameters())
        if recorded:

            def action(model=model, optimizer=optimizer):
                train(model, optimizer, 2)
                monkeypatch.setattr(appending, "write_shard", refuse)
                train(model, optimizer, 2)

            assert "No space left on device" in closing(optimizer, tmp_path / "run.trace")(action)
        else:
            train(model, optimizer, 2)
            train(model, optimizer, 2)
        results.append(bits(model, optimizer))
    assert results[0] == results[1]


def test_the_example(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["record_torch.py"])
    runpy.run_path(str(Path(__file__).parents[2] / "examples" / "record_torch.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert "after 40 recorded steps" in shown
    assert "this run: decoupled, since every recorded step lies within the bound of adamw" in shown
    assert "AdamW on these gradients: decoupled" in shown


def test_a_run_whose_parameters_something_else_moves_all_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_recording, "MOST_STRETCHES", 3)
    model = model_of()
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)

    def action():
        for _ in range(6):
            train(model, optimizer, 1)
            clamp(model, optimizer)

    message = closing(optimizer, tmp_path / "run.trace", snapshots=True)(action)
    assert "the parameters or the state were changed between steps 3 times" in message
    assert open_trace(tmp_path / "run.trace").n_steps == 4


@pytest.mark.parametrize("steps", [range(1, 9, 3), range(2, 9, 3), range(4, 6)])
def test_stretches_of_a_run(steps, tmp_path):
    model = model_of()
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=0.05)
    with optconform.record(optimizer, tmp_path / "run.trace", steps=steps, snapshots=True):
        train(model, optimizer, 10)
    trace = open_trace(tmp_path / "run.trace")
    stretches = [4] if steps.step == 1 else list(steps)
    assert [segment.training_step for segment in trace.run.segments] == stretches
    for segment in trace.run.segments:
        assert set(map(float, trace.state_before(segment)["step"].values())) == {segment.training_step - 1}


def test_warnings_as_errors_do_not_reach_the_training(tmp_path, capsys):
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with optconform.record(optimizer, tmp_path / "run.trace"):
            train(model, optimizer, 1)
            model[0].weight.grad.fill_(float("inf"))
            optimizer.step()
    assert "optconform stopped recording" in capsys.readouterr().err
