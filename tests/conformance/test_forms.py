import math

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optconform.conformance.forms import FORMS

APPLY = {
    "explicit": lambda x, repeats: x,
    "proximal": lambda x, repeats: x / (1.0 + x),
    "repeated": lambda x, repeats: 1.0 - (1.0 - x) ** repeats,
    "other": lambda x, repeats: -math.expm1(-x),
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.name}{form.repeats}")
@given(x=st.floats(1e-6, 0.9))
def test_inverting_a_form_returns_x_within_the_interval(form, x):
    coefficient = APPLY[form.name](x, form.repeats)
    # The coefficient itself was rounded: 4 operations on numbers of at most 1.
    low, high = form.interval(coefficient, 4 * 2.0**-53)
    assert low <= x <= high
    # A rounding of c moves x by dx/dc of it: at most 1/(1 - c)**2 over these forms and this range.
    assert high - low <= (10 * 2.0**-53) / (1.0 - coefficient) ** 2 + 16 * 2.0**-53 * x


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.name}{form.repeats}")
@given(x=st.floats(1e-12, 0.9))
def test_applying_a_form_gives_the_coefficient(form, x):
    exact = {
        "explicit": lambda x: x,
        "proximal": lambda x: x / (1 + x),
        "repeated": lambda x: 1 - (1 - x) ** form.repeats,
        "other": lambda x: 1 - mpmath.exp(-x),
    }
    with mpmath.workdps(40):
        coefficient = exact[form.name](mpmath.mpf(x))
        # At most two library functions at 2 ulp and two operations; log1p near x = 1 is well conditioned up to .9.
        assert abs(form.apply(x) - coefficient) <= 8 * 2.0**-53 * coefficient


@pytest.mark.parametrize("form", FORMS[1:], ids=lambda form: f"{form.name}{form.repeats}")
@pytest.mark.parametrize("coefficient", [1.0, 1.5])
def test_no_other_form_explains_a_coefficient_of_one_or_more(form, coefficient):
    assert all(map(math.isnan, form.interval(coefficient, 0.0)))


def test_forms_part_at_probe_values():
    found = {form.description: form.invert(0.025) for form in FORMS}
    assert len(set(found.values())) == len(FORMS)


EXACT = {
    "explicit": lambda c, repeats: c,
    "proximal": lambda c, repeats: c / (1 - c),
    "repeated": lambda c, repeats: 1 - mpmath.root(1 - c, repeats),
    "other": lambda c, repeats: -mpmath.log(1 - c),
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.name}{form.repeats}")
@given(coefficient=st.floats(1e-9, 0.99))
def test_the_interval_allows_for_the_rounding_of_the_inversion_itself(form, coefficient):
    with mpmath.workdps(40):
        exact = EXACT[form.name](mpmath.mpf(coefficient), form.repeats)
        low, high = form.interval(coefficient, 0.0)
        assert mpmath.mpf(low) <= exact <= mpmath.mpf(high)
