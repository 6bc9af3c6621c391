"""The shipped trace `char_transformer` is what its script records."""

import pytest

pytest.importorskip("optax")

pytestmark = pytest.mark.jax


def test_first_steps_recorded_anew(check_recording):
    assert check_recording("jax_char_transformer", "char_transformer") <= 1


def test_another_learning_rate_is_seen(check_recording):
    assert check_recording("jax_char_transformer", "char_transformer", learning_rate=0.0101) > 1
