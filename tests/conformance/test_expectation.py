import pytest
from hypothesis import given
from hypothesis import strategies as st

from optconform.conformance.expectation import Expectation, InvalidExpectation, parse_expectation
from optconform.conformance.result import Verdict

VERDICTS = [str(verdict) for verdict in Verdict if verdict not in (Verdict.ERROR, Verdict.EXCLUDED)] + ["any"]
AXES = {
    "law": ["lr*wd", "schedule*wd", "wd", "other"],
    "order": ["previous", "updated", "either"],
    "epsilon": ["outside", "hat", "inside"],
    "momentum": ["lr_outside", "lr_inside"],
}

expectations = st.builds(
    Expectation,
    st.sampled_from(VERDICTS),
    **{axis: st.none() | st.sampled_from(values) for axis, values in AXES.items()},
)


@given(expectations)
def test_what_is_written_is_read_back(expectation):
    assert parse_expectation(str(expectation)) == expectation


def test_spaces_around_parts_do_not_matter():
    assert parse_expectation(" l2 , epsilon=hat ") == Expectation("l2", epsilon="hat")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("decopled", "did you mean 'decoupled'?"),
        ("error", "verdict 'error'"),
        ("", "verdict ''"),
        ("decoupled,", "key ''"),
        ("decoupled,lw=wd", "did you mean 'law'?"),
        ("decoupled,law", "should be law=VALUE, once"),
        ("decoupled,law=wd,law=wd", "should be law=VALUE, once"),
        ("decoupled,law=lr", "law 'lr' should be one of lr*wd, schedule*wd, wd, other"),
        ("decoupled,epsilon=\x1b[31m", r"'\x1b[31m'"),
        ("decoupled,epsilon=out=side", "epsilon 'out=side'"),
    ],
)
def test_a_mistake_is_named_with_what_it_may_be(text, named):
    with pytest.raises(InvalidExpectation) as caught:
        parse_expectation(text)
    assert named in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("expected", VERDICTS)
def test_only_equivalent_meets_another_verdict(verdict, expected):
    met = parse_expectation(expected).met_by(verdict)
    assert met is (expected in ("any", verdict) or (verdict == "equivalent" and expected in ("decoupled", "l2")))
