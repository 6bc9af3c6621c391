"""Traces in directories: what was written comes back bit for bit, lazily, whatever its shapes."""

import hashlib
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from optconform.conformance.traces import DTYPES, MemoryTrace, Parameter, Step, open_trace, synthetic_trace, write_trace


@st.composite
def finite_bits(draw, parameter):
    """An array of the parameter's shape and dtype with any finite bits: subnormals and both zeros too."""
    dtype = DTYPES[parameter.dtype]
    unsigned = np.dtype(f"u{dtype.itemsize}")
    array = draw(hnp.arrays(unsigned, parameter.shape)).view(dtype)
    return np.where(np.isfinite(array), array, np.zeros((), dtype)).astype(dtype)


@st.composite
def traces(draw):
    shapes = draw(st.lists(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), min_size=1, max_size=4))
    names = draw(st.lists(st.text(min_size=1), min_size=len(shapes), max_size=len(shapes), unique=True))
    parameters = tuple(
        Parameter(name, shape, draw(st.sampled_from(sorted(DTYPES)))) for name, shape in zip(names, shapes, strict=True)
    )
    multipliers = tuple(draw(st.lists(st.floats(0, allow_infinity=False), max_size=5)))
    return MemoryTrace(
        name=draw(st.text()),
        parameters=parameters,
        multipliers=multipliers,
        initial={p.name: draw(finite_bits(p)) for p in parameters},
        gradients=tuple({p.name: draw(st.none() | finite_bits(p)) for p in parameters} for _ in multipliers),
        provenance={"note": draw(st.text())},
    )


@settings(max_examples=60, deadline=None)
@given(trace=traces(), steps_per_shard=st.none() | st.integers(1, 6))
def test_round_trip_bit_for_bit(tools, trace, steps_per_shard):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace")
        write_trace(trace, path, steps_per_shard=steps_per_shard)
        back = open_trace(path)
        assert (back.name, back.n_steps) == (trace.name, trace.n_steps)
        assert back.provenance == trace.provenance
        assert tools.same(back, trace)
        for step in trace.steps():
            for parameter in trace.parameters:
                block = back.block(parameter.name, step.index, parameter.size // 3, parameter.size)
                gradient = step.gradients[parameter.name]
                assert (block is None) == (gradient is None)
                if block is not None:
                    assert block.tobytes() == gradient.reshape(-1)[parameter.size // 3 :].tobytes()


def test_zero_steps(tools, tmp_path):
    trace = write_trace(tools.tiny_trace(multipliers=(), gradients=()), tmp_path / "empty")
    back = open_trace(trace.location)
    assert (back.n_steps, list(back.steps())) == (0, [])
    assert sorted(back.initial_parameters()) == ["s", "w"]
    assert sorted(file.name for file in Path(trace.location).iterdir()) == ["index.json", "initial.safetensors"]


def test_five_hundred_parameters(tools, tmp_path):
    shapes = {f"layer{i}.weight": (i % 4, 2) if i % 3 else () for i in range(500)}
    made = synthetic_trace("mixed", shapes=shapes, n_steps=4, dtype="bfloat16")
    assert tools.same(open_trace(write_trace(made, tmp_path / "t", steps_per_shard=3).location), made)


def test_names_with_control_characters(tools, tmp_path):
    made = synthetic_trace("spikes", shapes={"a\x00\n\x1b[31m": (2,), "ключ/веса": ()}, n_steps=2)
    assert tools.same(open_trace(write_trace(made, tmp_path / "t").location), made)


def test_arrays_belong_to_the_reader(stored, tools):
    trace = open_trace(stored)
    before = stored.joinpath("gradients-00001.safetensors").read_bytes()
    trace.initial_parameters()["w"][:] = 99
    for step in trace.steps():
        for gradient in step.gradients.values():
            if gradient is not None:
                gradient[...] = 99
    assert stored.joinpath("gradients-00001.safetensors").read_bytes() == before
    assert tools.same(trace, open_trace(stored))


@pytest.mark.parametrize("stop", range(7))
def test_steps_stop_inside_a_shard(stored, stop):
    assert [step.index for step in open_trace(stored).steps(stop)] == list(range(1, min(stop, 5) + 1))


def test_sha256_is_that_of_the_index(stored):
    assert open_trace(stored).sha256 == hashlib.sha256((stored / "index.json").read_bytes()).hexdigest()


def test_reading_survives_the_replacement_of_a_file(stored):
    trace = open_trace(stored)
    expected = trace.block("w", 1, 0, 12)
    (stored / "gradients-00001.safetensors").unlink()
    np.testing.assert_array_equal(trace.block("w", 1, 0, 12), expected)


class _Stream:
    """40 steps of 4 MB, each made when it is asked for."""

    name = "stream"
    parameters = (Parameter("w", (2**20,), "float32"),)
    multipliers = (1.0,) * 40
    n_steps = 40
    sha256 = "0" * 64
    provenance: dict = {}  # noqa: RUF012

    def initial_parameters(self):
        return {"w": np.zeros(2**20, np.float32)}

    def steps(self, stop=None):
        for index in range(1, self.n_steps + 1):
            yield Step(index, 1.0, {"w": np.full(2**20, index, np.float32)})


def _peak(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_steps(tmp_path):
    step = 4 * 2**20
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        path = Path(folder, "large")
        # The two steps of a shard, written as they are, and a mask of one (2.3 steps measured).
        assert 2 * step < _peak(lambda: write_trace(_Stream(), path, steps_per_shard=2)) < 3 * step
        trace = open_trace(path, verify=False)

        def iterate():
            total = sum(float(each.gradients["w"][7]) for each in trace.steps())
            assert total == 40 * 41 / 2

        # The step in hand and the one that is being read.
        assert step < _peak(iterate) < 2.5 * step
        # Verifying holds the one tensor of theta_0 with its mask, and never more than 2 MB of the gradients.
        assert _peak(lambda: open_trace(path)) < 1.5 * step
        # One block of coordinates through all steps reads that block alone.
        assert _peak(lambda: [trace.block("w", t, 1000, 2000) for t in range(1, 41)]) < step


@pytest.mark.parametrize("spell", [str, Path])
def test_a_path_may_be_text_or_path(stored, spell):
    assert open_trace(spell(stored)).n_steps == 5
