"""The JSON Schema for editors is what the table of keys says, and takes what the command takes."""

import tomllib
from dataclasses import fields
from importlib import resources

import jsonschema
import pytest

from optconform.conformance.configuration.keys import ACCEPT_KEYS, KEYS, TARGET_KEYS
from optconform.conformance.configuration.schema import FILE, configuration_schema, schema_text
from optconform.conformance.configuration.values import Accepted, Configuration, ConfiguredTarget

SHIPPED = resources.files("optconform.conformance").joinpath("schema", FILE).read_text("utf-8")


def test_the_file_is_made_from_the_table():
    assert schema_text() == SHIPPED, "run `python scripts/configuration_schema.py`"


def test_it_is_a_schema_of_the_draft_that_editors_read():
    schema = configuration_schema()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("keys", "made", "beside"),
    [(KEYS, Configuration, {"file"}), (TARGET_KEYS, ConfiguredTarget, set()), (ACCEPT_KEYS, Accepted, set())],
)
def test_every_key_is_a_field_and_is_described(keys, made, beside):
    assert {key.name for key in keys} == {field.name for field in fields(made)} - beside
    for key in keys:
        assert key.help.endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[tool]\nruff = 3",
        "[tool.optconform]",
        'traces = ["digits_mlp", "traces/mine.trace", "s3://bucket/run.trace", "synthetic:mixed:7"]\nselect = []',
        'require = ["numpy", "cuda", "gpu:1"]\ndevices = ["cpu", "gpu", "gpu:10"]\nignore = ["OC305"]\nbaseline = "b"',
        '[[tool.optconform.targets]]\ntarget = "a.b:C.d"\nexpect = "l2, law=lr*wd,order=previous"',
        "targets = [{ target = 'a:b', set = { lr = 1, betas = [0.9, 0.98], nesterov = true }, map = { lr = 'eta' } }]",
        '[[tool.optconform.targets]]\ntarget = "src/my_package/optim.py:MyAdamW"',
        '[[tool.optconform.accept]]\ncode = "OC204"\ntarget = "*"\nreason = "known"',
    ],
)
def test_what_is_right_has_no_error_in_the_editor(text):
    header = "" if text.startswith("[tool") else "[tool.optconform]\n"
    jsonschema.Draft7Validator(configuration_schema()).validate(tomllib.loads(header + text))
