"""Distances in units in the last place, of the largest element of a tensor."""

import ml_dtypes
import numpy as np
import pytest

from optconform.gpu_ci.apart import in_units, unit_at
from optconform.reference.formats import FORMATS

DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("magnitude", [1.0, 1.5, 3.0, 2.0**-10, 0.0])
def test_one_unit_is_the_way_to_the_next_number(name, magnitude):
    start = np.array(magnitude, dtype=DTYPES[name])
    following = (start.view(f"u{start.itemsize}") + 1).astype(f"u{start.itemsize}").view(start.dtype)
    assert unit_at(magnitude, FORMATS[name]) == float(following) - float(start)


def test_the_unit_is_that_of_the_largest_element():
    one = np.array([8.0, 1e-30, -0.0], dtype=np.float32)
    other = np.array([8.0, -1e-30, 0.0], dtype=np.float32)
    found = in_units(one, other, FORMATS["float32"])
    assert found[0] == found[2] == 0.0
    assert found[1] == pytest.approx(2e-30 / 2.0**-20)


def test_the_largest_of_both_counts():
    found = in_units(np.array([1.0]), np.array([4.0]), FORMATS["float64"])
    assert found == [3.0 / 2.0**-50]


def test_what_is_not_finite():
    one, other = np.array([np.nan, np.inf, np.inf, 1.0]), np.array([np.nan, np.inf, -np.inf, np.nan])
    assert in_units(one, other, FORMATS["float64"]).tolist() == [0.0, 0.0, np.inf, np.inf]
    assert in_units(np.zeros(0), np.zeros(0), FORMATS["float64"]).size == 0
