"""Generated gradients: the same bits from every library, exact in every format, and the function that is documented."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from optconform.adapters.arrays import HOST_DTYPES
from optconform.adapters.generated_gradients import (
    GRADIENTS,
    MOST_ELEMENTS,
    PARAMETERS,
    generated_bits,
    generated_gradient,
    generated_parameters,
    in_blocks,
    key_of,
)

DTYPES = tuple(GRADIENTS)
COUNT = 20_000
COORDINATES = np.concatenate([np.arange(COUNT), [2**24 + 1, 2**30 + 3, MOST_ELEMENTS - 1]]).astype(np.int32)


def finaliser(word):
    """MurmurHash3's, in Python's own integers."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        word = ((word ^ (word >> shift)) * factor) & 0xFFFFFFFF
    return word ^ (word >> 16)


def by_hand(coordinate, step, seed, layout):
    """The value at one coordinate by ordinary arithmetic, where the module puts bits together."""
    word = coordinate
    for key in key_of(seed, step):
        word = finaliser(word ^ (key & 0xFFFFFFFF))
    if (word >> 23) & 31 == 0:
        return 0.0
    fraction = (word & 0x7FFFFF) >> (24 - layout.precision)
    scale = (coordinate >> layout.shift) & (layout.scales - 1)
    exponent = layout.largest - scale * layout.apart - ((word >> 28) & 3)
    size = (1.0 + fraction * 2.0 ** (1 - layout.precision)) * 2.0**exponent
    return -size if word >> 31 else size


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_the_function_that_is_documented(dtype):
    some = COORDINATES[::97]
    for made, step, layout in (
        (generated_gradient(some, 3, dtype, seed=11), 3, GRADIENTS[dtype]),
        (generated_parameters(some, dtype, seed=11), 0, PARAMETERS[dtype]),
    ):
        assert made.dtype == HOST_DTYPES[dtype]
        assert made.astype(np.float64).tolist() == [by_hand(int(each), step, 11, layout) for each in some]


def test_values_stay_what_they_are():
    """A change of any bit needs another VERSION: recorded results name it."""
    digest = hashlib.sha256()
    for dtype in DTYPES:
        digest.update(generated_gradient(COORDINATES, 2, dtype, seed=1).tobytes())
        digest.update(generated_parameters(COORDINATES, dtype, seed=1).tobytes())
    assert digest.hexdigest() == "0580f7cdfc276f2ec5322e11c8b1188f9fc7534aeecb49e344922f79609ce6f7"


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_spread(dtype):
    made = generated_gradient(COORDINATES, 1, dtype).astype(np.float64)
    size = np.abs(made[made != 0.0])
    assert np.isfinite(made).all()
    # 1/32 of 20,003, six standard deviations either way.
    assert abs(np.mean(made == 0.0) - 1 / 32) < 6 * (31 / 32**2 / len(made)) ** 0.5
    assert abs(np.mean(made[made != 0.0] > 0.0) - 0.5) < 3 / len(size) ** 0.5
    assert size.max() < 4.0
    assert len(np.unique(np.frexp(size)[1])) == (11 if dtype == "float16" else 34)
    squares = (made * made).astype(HOST_DTYPES[dtype])
    assert np.isfinite(squares).all()
    assert (squares[made != 0.0] != 0.0).all()


def test_steps_and_seeds_are_unrelated():
    signs = [
        np.sign(generated_gradient(COORDINATES, step, "float32", seed=seed))
        for step, seed in ((1, 0), (2, 0), (1, 1), (2**31, 0), (1, 10**17))
    ]
    for position, one in enumerate(signs):
        for other in signs[position + 1 :]:
            assert abs(np.mean(one * other)) < 6 / len(one) ** 0.5


def test_blocks_are_parts_of_the_whole():
    def make(coordinates):
        return generated_gradient(coordinates, 4, "float32")

    whole = in_blocks(make, 0, 70_000, "float32")  # more than one block
    assert whole[65_530:65_545].tobytes() == in_blocks(make, 65_530, 65_545, "float32").tobytes()
    assert len(in_blocks(make, 5, 5, "float32")) == 0


def wanted(layouts, dtype):
    return generated_bits(COORDINATES, key_of(7, 3), layouts[dtype]).tolist()


@pytest.mark.torch
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_makes_the_same_bits(dtype):
    torch = pytest.importorskip("torch")
    coordinates = torch.from_numpy(COORDINATES)
    for layouts in (GRADIENTS, PARAMETERS):
        bits = generated_bits(coordinates, key_of(7, 3), layouts[dtype])
        assert bits.dtype is torch.int32
        assert bits.tolist() == wanted(layouts, dtype)
    made = generated_bits(coordinates, key_of(7, 3), GRADIENTS[dtype]).view(torch.float32)
    exact = made.to(getattr(torch, dtype))
    assert exact.to(torch.float64).tolist() == generated_gradient(COORDINATES, 3, dtype, seed=7).astype(float).tolist()


@pytest.mark.jax
@pytest.mark.parametrize("dtype", DTYPES)
def test_jax_makes_the_same_bits_without_64_bit_integers(dtype):
    jax = pytest.importorskip("jax")
    jitted = jax.jit(lambda coordinates, key: generated_bits(coordinates, key, GRADIENTS[dtype]))
    words = tuple(np.int32(word) for word in key_of(7, 3))
    bits = jitted(jax.numpy.asarray(COORDINATES), words)
    assert bits.dtype == np.int32
    assert np.asarray(bits).tolist() == wanted(GRADIENTS, dtype)


@pytest.mark.tensorflow
def test_tensorflow_makes_the_same_bits():
    tf = pytest.importorskip("tensorflow")
    for dtype in DTYPES:
        bits = generated_bits(
            tf.constant(COORDINATES), key_of(7, 3), GRADIENTS[dtype], shift_right=tf.bitwise.right_shift
        )
        assert bits.numpy().tolist() == wanted(GRADIENTS, dtype)
