"""Audits of Keras optimizers from the command line: those it ships, and one written by hand in a file."""

import json

import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("keras")

from optconform.conformance.cli.main import main

pytestmark = pytest.mark.tensorflow
TRACE = ("--trace", "synthetic:schedule_jump")

HAND_WRITTEN = """
import keras

class Base(keras.optimizers.Optimizer):
    def __init__(self, learning_rate=0.001, weight_decay=None, decay=0.0, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.decay = weight_decay or 0.0

class Decoupled(Base):
    def update_step(self, gradient, variable, learning_rate):
        lr = keras.ops.cast(learning_rate, variable.dtype)
        decay = self.decay if self._use_weight_decay(variable) else 0.0
        self.assign_sub(variable, lr * keras.ops.tanh(gradient) + lr * decay * variable)

class Coupled(Base):
    def update_step(self, gradient, variable, learning_rate):
        lr = keras.ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, lr * keras.ops.tanh(gradient + self.decay * variable))
"""


@pytest.fixture
def audited(capsys):
    def command(*arguments):
        status = main(["audit", *arguments, *TRACE, "--format", "json"])
        return status, json.loads(capsys.readouterr().out)

    return command


def test_keras_rounds_and_is_not_accused_of_more(audited):
    status, document = audited("keras.optimizers:AdamW", "--expect", "decoupled,law=lr*wd,order=previous,epsilon=hat")
    assert (status, document["match"]["rule"]) == (0, "adamw")
    severities = {finding["rule"]: finding["severity"] for finding in document["findings"]}
    assert severities == {"OC201": "info", "OC302": "info", "OC305": "warning"}


def test_plain_sgd_is_both_although_its_rate_is_rounded_in_each_step(audited):
    status, document = audited("keras.optimizers:SGD", "--set", "momentum=0.0")
    assert (status, document["verdict"], document["decay"]["law"]) == (0, "equivalent", "lr*wd")


@pytest.mark.parametrize(("attribute", "verdict"), [("Decoupled", "decoupled"), ("Coupled", "l2")])
def test_a_file_is_audited_by_path(audited, tmp_path, attribute, verdict):
    (tmp_path / "mine.py").write_text(HAND_WRITTEN)
    status, document = audited(f"{tmp_path / 'mine.py'}:{attribute}")
    assert (status, document["verdict"], document["framework"]) == (int(verdict == "l2"), verdict, "tensorflow")
