"""Shards are the files that the safetensors library writes, byte for byte."""

import hashlib
import threading

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from optconform.conformance.traces.shards import Tensor, tensor_of, write_shard

NAMES = ["b", "a", "ключ/веса", 'quote"and\\slash', "new\nline\x01\x7f", "Z", "a.b", "a/b"]
DTYPES = [np.float64, np.float32, ml_dtypes.bfloat16, np.float16, np.int64]


def arrays(seed):
    """Tensors of every dtype under awkward names; some are scalars, some hold nothing."""
    rng = np.random.default_rng(seed)
    shapes = [(), (0,), (3,), (2, 0, 3), (2, 5), (1, 7, 2)]
    return {
        name: (rng.standard_normal(shapes[rng.integers(len(shapes))]) * 100).astype(DTYPES[rng.integers(len(DTYPES))])
        for name in rng.permutation(NAMES)[: rng.integers(1, len(NAMES) + 1)]
    }


@pytest.mark.parametrize("seed", range(20))
def test_the_bytes_are_those_of_the_library(tmp_path, seed):
    made = {str(name): np.asarray(value) for name, value in arrays(seed).items()}
    save_file(made, tmp_path / "library.safetensors")
    shard = write_shard(tmp_path / "own.safetensors", {name: tensor_of(value) for name, value in made.items()})
    raw = (tmp_path / "own.safetensors").read_bytes()
    assert raw == (tmp_path / "library.safetensors").read_bytes()
    assert (shard.bytes, shard.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())


def test_pieces_are_laid_one_after_the_other(tmp_path):
    pieces = [np.array([1.0, 2.0], np.float32), np.array([[3.0], [4.0]], np.float32), np.array([5.0, 6.0], np.float32)]
    write_shard(tmp_path / "t.safetensors", {"w": Tensor("float32", (3, 2), pieces)})
    assert load_file(tmp_path / "t.safetensors")["w"].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_a_view_is_written_as_its_values(tmp_path):
    whole = np.arange(24.0).reshape(4, 6)
    write_shard(tmp_path / "t.safetensors", {"w": tensor_of(whole[::2, ::-3])})
    assert load_file(tmp_path / "t.safetensors")["w"].tolist() == whole[::2, ::-3].tolist()


@pytest.mark.parametrize("ending", [False, True])
def test_the_digest_of_much_is_found_beside_the_writing_where_threads_start(tmp_path, monkeypatch, ending):
    started = []
    start = threading.Thread.start

    def refuse_when_ending(thread):
        started.append(thread)
        if ending:
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_when_ending)
    shard = write_shard(tmp_path / "t.safetensors", {"w": tensor_of(np.arange(2**18, dtype=np.float64))})
    assert len(started) == 1
    assert shard.sha256 == hashlib.sha256((tmp_path / "t.safetensors").read_bytes()).hexdigest()
