"""The shipped trace `digits_cnn` is what its script records."""

import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("sklearn")

pytestmark = pytest.mark.tensorflow


def test_first_steps_recorded_anew(check_recording):
    assert check_recording("keras_digits_cnn", "digits_cnn") <= 1


def test_another_learning_rate_is_seen(check_recording):
    assert check_recording("keras_digits_cnn", "digits_cnn", learning_rate=0.0101) > 1
