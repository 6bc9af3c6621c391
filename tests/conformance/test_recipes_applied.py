"""What a recipe says of an optimizer is done in an audit, and said in its result."""

import pytest

import optconform
from optconform.adapters import recipes
from optconform.adapters.numpy_optimizers import AdamW
from optconform.adapters.recipes import Recipe

TARGET = "optconform.adapters.numpy_optimizers:AdamW"


@pytest.fixture(autouse=True)
def in_float32(monkeypatch):
    assert AdamW.__qualname__ == "AdamW"
    row = Recipe("optconform", ("AdamW",), "it raises on float64", dtype="float32")
    monkeypatch.setattr(recipes, "RECIPES", (row,))


def audited(**arguments):
    return optconform.audit(TARGET, traces=["synthetic:small"], metamorphic=False, **arguments)


def test_the_dtype_it_needs_is_taken_and_said():
    result = audited()
    assert (result.dtype, result.remark) == ("float32", "it raises on float64")
    assert "--dtype" not in result.rerun
    assert result.to_json()["remark"] == result.remark


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_another_can_be_asked_for_and_is_asked_for_again(dtype):
    result = audited(dtype=dtype, expect="any")
    assert result.dtype == dtype
    assert f"--dtype {dtype}" in result.rerun


def test_the_others_are_audited_in_float64():
    result = optconform.audit("optconform.adapters.numpy_optimizers:SGDW", traces=["synthetic:small"])
    assert (result.dtype, result.remark) == ("float64", "")
