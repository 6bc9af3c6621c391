"""The shipped trace `digits_mlp` is what its script records."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

pytestmark = pytest.mark.torch


def test_first_steps_recorded_anew(check_recording):
    assert check_recording("torch_digits_mlp", "digits_mlp") <= 1


def test_another_learning_rate_is_seen(check_recording):
    assert check_recording("torch_digits_mlp", "digits_mlp", lr=0.101) > 1
