"""Audits of Optax transformations from the command line: those it ships, and ones composed in a file."""

import json

import pytest

pytest.importorskip("jax")
pytest.importorskip("optax")

from optconform.conformance.cli.main import main

pytestmark = pytest.mark.jax
TRACE = ("--trace", "synthetic:schedule_jump")

HAND_WRITTEN = """
import jax, optax

def decoupled(learning_rate, weight_decay=0.0):
    return optax.chain(optax.scale_by_sign(), optax.add_decayed_weights(weight_decay),
                       optax.scale_by_learning_rate(learning_rate))

def coupled(learning_rate, weight_decay=0.0):
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.scale_by_adam(),
                       optax.scale_by_learning_rate(learning_rate))

def growing(learning_rate, weight_decay=0.0):
    return optax.chain(optax.sgd(learning_rate, momentum=0.9), optax.add_decayed_weights(weight_decay))
"""


@pytest.fixture
def audited(capsys):
    def command(*arguments):
        status = main(["audit", *arguments, *TRACE, "--format", "json"])
        return status, json.loads(capsys.readouterr().out)

    return command


def test_adamw_is_decoupled(audited):
    status, document = audited("optax:adamw", "--expect", "decoupled,law=lr*wd,order=previous,epsilon=outside")
    assert (status, document["match"]["rule"]) == (0, "adamw")


@pytest.mark.parametrize(
    ("attribute", "status", "verdict", "code"),
    [("decoupled", 0, "decoupled", "OC201"), ("coupled", 1, "l2", "OC101"), ("growing", 1, "other", "OC106")],
)
def test_a_file_is_audited_by_path(audited, tmp_path, attribute, status, verdict, code):
    (tmp_path / "mine.py").write_text(HAND_WRITTEN)
    found, document = audited(f"{tmp_path / 'mine.py'}:{attribute}")
    assert (found, document["verdict"], document["framework"]) == (status, verdict, "jax")
    assert code in {finding["rule"] for finding in document["findings"]}
