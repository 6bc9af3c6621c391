"""Optimizers of two frameworks compared: their rules, their defaults, their conventions."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("jax")
pytest.importorskip("keras")

import optconform  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.jax, pytest.mark.tensorflow]


def test_adamw_of_pytorch_and_optax_is_the_same_at_the_same_values():
    result = optconform.compare("torch.optim:AdamW", "optax:adamw", traces=["synthetic:small"])
    assert [each.name for each in result.differences] == ["weight_decay"]
    assert (result.translation.exists, result.translation.values) == (True, {"weight_decay": 0.01})


def test_keras_follows_pytorch_where_the_place_of_epsilon_does_not_show():
    pair = ("torch.optim:AdamW", "keras.optimizers:Adam")
    result = optconform.compare(*pair, traces=["synthetic:sign_changes"], dtype="float32")
    assert result.translation.exists is True
    assert result.translation.values == {"weight_decay": 0.01, "eps": 1e-8}
    result = optconform.compare(*pair, traces=["synthetic:wide_range"], dtype="float32")
    assert result.translation.exists is False
    assert "epsilon" in {obstacle.axis for obstacle in result.translation.obstacles}


def test_rounding_of_keras_shows_in_double_precision():
    values = {"options_a": {"weight_decay": 0.01, "eps": 1e-7}, "options_b": {"weight_decay": 0.01}}
    result = optconform.compare("torch.optim:AdamW", "keras.optimizers:AdamW", traces=["synthetic:small"], **values)
    assert "casts" in {each.name for each in result.differences if each.shows}
    assert "compare in that precision" in result.translation.message


def test_the_paths_of_one_target_are_the_same():
    result = optconform.compare(
        "torch.optim:AdamW",
        "torch.optim:AdamW",
        path_a="foreach",
        path_b="fused",
        dtype="float32",
        traces=["synthetic:small"],
    )
    assert result.same
    assert (result.first.path, result.second.path) == ("foreach", "fused")
