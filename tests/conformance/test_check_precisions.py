"""The built-in optimizers of every framework, in every precision that they are trained in."""

import json

import pytest

from optconform.conformance.builtin_targets import BUILTIN_TARGETS
from optconform.conformance.cli.main import main

pytestmark = [pytest.mark.torch, pytest.mark.tensorflow, pytest.mark.jax]


@pytest.fixture(autouse=True)
def frameworks():
    for module in ("torch", "keras", "optax"):
        pytest.importorskip(module)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_verdict_is_the_one_expected(dtype, capsys):
    status = main(["check", "--dtype", dtype, "--trace", "digits_mlp", "--format", "json"])
    results = json.loads(capsys.readouterr().out)["results"]
    assert status == 0
    assert len(results) == len(BUILTIN_TARGETS)
    for row, result in zip(BUILTIN_TARGETS, results, strict=True):
        assert result["verdict"] == row.expected.partition(",")[0]
        for match in (result["match"], result["probe_match"]):
            assert match["bound_ratio"] is None or match["bound_ratio"] <= 1.0
        own, rival = result["separation"]["own_ratio"], result["separation"]["rival_ratio"]
        assert own <= 1.0 < (rival if rival is not None else 2.0)
