"""Formulas in docstrings come out of Sphinx as they were written."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "docs" / "_extensions" / "docstrings.py"
SPEC = importlib.util.spec_from_file_location("docstrings", PATH)
docstrings = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(docstrings)


@pytest.mark.parametrize(
    ("prose", "rest"),
    [
        ("beta1 * m + 0.5*cos(pi*t)", r"beta1 \* m + 0.5\*cos(pi\*t)"),
        ("g / (|g| + eps)", r"g / (\|g\| + eps)"),
        ("m_{t-1} and theta_0", r"m\_{t-1} and theta_0"),
        ("see `theta_` here", "see ``theta_`` here"),
        ("the `theta`s", "the ``theta``\\ s"),
        ("`a * b` * c", r"``a * b`` \* c"),
        ("in *SGDR*, 2017", "in *SGDR*, 2017"),
        ("*Decoupled Weight\nDecay* says 2*x", "*Decoupled Weight\nDecay* says 2\\*x"),
        ("2**-25", r"2\*\*-25"),
    ],
)
def test_prose_is_taken_literally(prose, rest):
    assert docstrings.to_rest(prose) == rest


def test_an_indented_paragraph_is_code():
    lines = ["So:", "", '    {"a": [2 * x_],', '         "b": 1}', "", "a * b"]
    docstrings.convert(None, "module", "m", None, None, lines)
    assert lines == ["So:", "", "::", "", '    {"a": [2 * x_],', '         "b": 1}', "", r"a \* b"]


def test_examples_are_left_alone():
    lines = ["Text: a * b.", "", ">>> 2 * 3", "6", "", "x_ * y"]
    docstrings.convert(None, "function", "f", None, None, lines)
    assert lines == [r"Text: a \* b.", "", ">>> 2 * 3", "6", "", r"x\_ \* y"]
