"""What a layout means before any framework sees it."""

import pytest

from optconform.adapters.errors import NotSupported
from optconform.adapters.layouts import Part, accumulation_options, dtypes_of, lists_of, parts_of
from optconform.adapters.protocol import PLAIN, Layout
from optconform.adapters.targets import target_from_object

pytestmark = pytest.mark.numpy

NAMES = ("w", "b", "scale")


def test_plain_layout_is_one_list_of_all():
    assert lists_of(PLAIN, NAMES) == (NAMES,)
    assert parts_of(PLAIN, NAMES) == (Part(NAMES, undecayed=False),)
    assert dtypes_of(PLAIN, NAMES, "float32") == dict.fromkeys(NAMES, "float32")


def test_groups_keep_their_order():
    layout = Layout(groups=(("scale", "w"), ("b",)))
    assert lists_of(layout, NAMES) == (("scale", "w"), ("b",))
    assert parts_of(layout, NAMES) == (Part(("scale", "w"), undecayed=False), Part(("b",), undecayed=False))


def test_undecayed_parameters_split_their_group():
    layout = Layout(groups=(("scale", "w"), ("b",)), undecayed=frozenset({"scale", "b"}))
    assert parts_of(layout, NAMES) == (
        Part(("w",), undecayed=False),
        Part(("scale",), undecayed=True),
        Part(("b",), undecayed=True),
    )


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (Layout(groups=(("w",), ("b",))), "in no group: 'scale'"),
        (Layout(groups=(("w", "b"), ("b", "scale"))), "in more than one group: 'b'"),
        (Layout(groups=(("w", "b"), ("scale", "v"))), "no parameter: 'v'"),
        (Layout(undecayed=frozenset({"v"})), "no parameter: 'v'"),
        (Layout(dtypes={"v": "float32"}), "no parameter: 'v'"),
    ],
)
def test_layout_that_does_not_fit(layout, message):
    with pytest.raises(ValueError, match=message):
        lists_of(layout, NAMES)


def test_dtype_of_a_parameter():
    assert dtypes_of(Layout(dtypes={"b": "bfloat16"}), NAMES, "float32")["b"] == "bfloat16"
    with pytest.raises(ValueError, match="dtype='int8' is not supported"):
        dtypes_of(Layout(dtypes={"b": "int8"}), NAMES, "float32")


def test_accumulation_is_an_option_of_the_target():
    def accumulates(params, lr=0.1, accumulation_steps=1):
        raise AssertionError

    def plain(params, lr=0.1):
        raise AssertionError

    target = target_from_object(accumulates, framework="torch")
    assert accumulation_options(target, PLAIN) == {}
    assert accumulation_options(target, Layout(accumulate=4)) == {"accumulation_steps": 4}
    with pytest.raises(NotSupported, match="no option that accumulates gradients"):
        accumulation_options(target_from_object(plain, framework="torch"), Layout(accumulate=4))
