"""The formats and what the bound assumes of scalars, against the libraries that implement the formats."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from rounded_numbers import LAYOUTS, half_ulp, nearest

from optconform.reference.arithmetic import arithmetic
from optconform.reference.formats import FORMATS, power_below
from optconform.reference.platforms import PLATFORMS

DTYPES = {"float64": np.float64, "float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}


def magnitudes(count=20_000, low=-30.0, high=30.0, seed=0):
    """Magnitudes over many binades, with the powers of two among them."""
    values = 2.0 ** np.random.default_rng(seed).uniform(low, high, count)
    return np.concatenate([values, 2.0 ** np.arange(low, high)])


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_what_the_library_says(name):
    found, library = FORMATS[name], ml_dtypes.finfo(DTYPES[name])
    assert found.unit_roundoff == float(library.eps) / 2.0
    assert found.smallest_normal == float(library.smallest_normal)
    assert found.smallest_subnormal == float(library.smallest_subnormal)
    assert found.largest == float(library.max)


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32"])
def test_emulated_numbers_are_those_of_the_library(name):
    """What the other tests of the bound compute with: all operations, subnormal numbers and overflow included."""
    rng, dtype = np.random.default_rng(0), DTYPES[name]
    layout = LAYOUTS[name]
    span = layout[2] - 2
    x, y = ((rng.choice([-1.0, 1.0], 20_000) * 2.0 ** rng.uniform(-span, span, 20_000)).astype(dtype) for _ in range(2))
    y[::2] = (x[::2].astype(float) * rng.uniform(0.1, 2.0, x[::2].size)).astype(dtype)  # sums that round
    with np.errstate(all="ignore"):
        for operation in (np.add, np.subtract, np.multiply, np.divide):
            own = nearest(operation(x.astype(float), y.astype(float)), layout)
            np.testing.assert_array_equal(own, operation(x, y).astype(float))
        size = np.abs(x)
        np.testing.assert_array_equal(nearest(np.sqrt(size.astype(float)), layout), np.sqrt(size).astype(float))


def test_power_below():
    values = np.array([1.0, 1.5, 2.0, np.nextafter(2.0, 0.0), 3e-300, 1e300, 0.0, 5e-324, np.inf])
    expected = [1.0, 1.0, 2.0, 1.0, 2.0 ** math.floor(math.log2(3e-300)), 2.0 ** math.floor(math.log2(1e300)),
                0.0, 0.0, np.inf]  # fmt: skip
    np.testing.assert_array_equal(power_below(values), expected)
    assert not np.isfinite(power_below(np.array([np.nan])))[0]


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32"])
def test_rounding_is_half_an_ulp_and_no_more(name):
    span = LAYOUTS[name][2] - 1.0
    where, values = arithmetic(name), magnitudes(low=-span - 20.0, high=span)
    allowed = where.rounding(values)
    np.testing.assert_array_equal(allowed, half_ulp(values, LAYOUTS[name]))
    errors = np.abs(nearest(values, LAYOUTS[name]) - values)
    assert np.all(errors <= allowed)
    assert np.max(errors / allowed) > 0.99


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_storing_is_half_an_ulp_of_the_storage(name):
    values = magnitudes(low=-10.0, high=10.0)
    where = arithmetic(name, working="float32")
    assert where.stores_narrower
    assert not arithmetic(name).stores_narrower
    np.testing.assert_array_equal(where.storing(values), half_ulp(values, LAYOUTS[name]))
    np.testing.assert_array_equal(where.rounding(values), half_ulp(values, LAYOUTS["float32"]))


def test_flushing_loses_the_smallest_normal_number():
    gradual, flushing = (arithmetic("float32", PLATFORMS[row]) for row in ("cpu", "xla-cpu"))
    assert gradual.w == 2.0**-150
    assert flushing.w == 2.0**-126
    assert flushing.rounding(np.zeros(1))[0] == 2.0**-126
    assert arithmetic("float64").w == 2.0**-1074  # half of it is no float64


@pytest.mark.parametrize("magnitude", [0.0, 1.0, 1.75, 3e-5, 0.9999])
def test_scalar_rounding_is_that_of_an_array(magnitude):
    for name in FORMATS:
        where = arithmetic(name)
        assert where.scalar_rounding(magnitude) == where.rounding(np.array([magnitude]))[0]


@pytest.mark.parametrize(
    ("dtype", "chosen", "expected"),
    [
        ("float64", {}, ("float64", "float64", "float64")),
        ("float32", {}, ("float32", "float32", "float32")),
        ("bfloat16", {}, ("bfloat16", "bfloat16", "float32")),
        ("float16", {"working": "float32"}, ("float32", "float16", "float32")),
        ("bfloat16", {"scalars": "bfloat16"}, ("bfloat16", "bfloat16", "bfloat16")),
    ],
)
def test_formats_by_default(dtype, chosen, expected):
    where = arithmetic(dtype, **chosen)
    assert (where.working.name, where.storage.name, where.scalars.name) == expected


def test_an_unknown_format_is_refused():
    with pytest.raises(KeyError, match="float8"):
        arithmetic("float8")


def test_only_float64_is_widened():
    """The reference is itself a float64 evaluation and may be as far off; beside a narrower one it is exact."""
    assert [round(arithmetic(name).allowance, 3) for name in ("float64", "float32", "float16")] == [2.0, 1.0, 1.0]


def test_gamma_is_highams():
    where = arithmetic("bfloat16")
    assert where.gamma(4) == 4 * 2.0**-8 / (1 - 4 * 2.0**-8)
    assert where.relative_underflow(0.0) == 0.0
    assert where.relative_underflow(0.5) == where.w / 0.5


# --- scalars: every way in which frameworks form them ------------------------------------------------------------


def rounded(name, value):
    return float(DTYPES[name](value))


def ways(where, beta, steps):
    """Yield (beta, 1 - beta, 1 - beta**t) as formed in double, or in the scalars' format; then in the working one."""
    work, kept = where.working.name, where.scalars.name
    held = rounded(kept, beta)
    power = held
    for _ in range(steps - 1):
        power = rounded(kept, power * held)
    for factor, complement, correction in (
        (beta, 1.0 - beta, 1.0 - beta**steps),
        (held, rounded(kept, 1.0 - held), rounded(kept, 1.0 - power)),
        (held, rounded(kept, 1.0 - held), rounded(kept, 1.0 - rounded(kept, held**steps))),
    ):
        yield rounded(work, factor), rounded(work, complement), rounded(work, correction)


@pytest.mark.parametrize("steps", [1, 2, 10, 300])
@pytest.mark.parametrize("name", FORMATS)
def test_scalars_are_covered_and_not_much_more(name, steps):
    where, rng = arithmetic(name), np.random.default_rng(steps)
    worst = dict.fromkeys(("beta", "complement", "correction"), 0.0)
    for beta in np.concatenate([rng.uniform(0.5, 1.0, 1000), 1.0 - 10.0 ** rng.uniform(-4, -1, 1000)]):
        beta = float(beta)
        allowed = where.beta_error(beta), where.complement_error(beta), where.correction_error(beta, steps)
        for found in ways(where, beta, steps):
            exact = beta, 1.0 - beta, 1.0 - beta**steps
            for kind, value, true, most in zip(worst, found, exact, allowed, strict=True):
                # In float64 `exact` is itself rounded, by at most one unit.
                slack = 2.0**-53 if name == "float64" else 0.0
                assert abs(value - true) <= most + slack, (kind, beta)
                worst[kind] = max(worst[kind], abs(value - true) / most)
    # A power by repeated multiplication may drift t units, and a library may err by 8: random ones do not.
    least = {"beta": 0.25, "complement": 0.25, "correction": 0.05}
    if name != "float64":
        assert all(worst[kind] >= least[kind] for kind in worst), worst


def test_a_beta_of_zero_is_exact():
    for name in FORMATS:
        where = arithmetic(name)
        assert (where.beta_error(0.0), where.complement_error(0.0), where.correction_error(0.0, 3)) == (0.0, 0.0, 0.0)
