"""The JSON Schema of comparisons holds for what they write, and refuses what they must not write."""

import copy
import json
from importlib import resources

import jsonschema
import pytest

import optconform
from optconform.conformance.compare import compare

SCHEMA = json.loads(
    resources.files("optconform.conformance").joinpath("schema/compare-1.schema.json").read_text("utf-8")
)
ADAMW, SGDW = (f"optconform.adapters.numpy_optimizers:{name}" for name in ("AdamW", "SGDW"))


def validate(document):
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(document, allow_nan=False)))


@pytest.fixture
def results(subject_of, zoo, make_trace):
    """Return comparisons of every sort, as documents."""

    class Refusing(zoo.Plain):
        def __init__(self, weight_decay=0.0):
            raise ValueError("no")

    def run(first, second, *, trace=None, **options):
        pair = subject_of(first), subject_of(second, **options)
        return compare(*pair, [make_trace() if trace is None else trace]).to_json()

    return {
        "same": run(ADAMW, ADAMW),
        "other values": run(ADAMW, ADAMW, weight_decay=0.1, eps=0.1),
        "other family": run(ADAMW, SGDW),
        "no rule": run(zoo.Plain, zoo.PlainWd, weight_decay=0.5),
        "one rule": run(ADAMW, zoo.Plain),
        "nan": run(ADAMW, zoo.NotANumber),
        "not built": run(ADAMW, Refusing),
        "no steps": run(ADAMW, ADAMW, trace=make_trace(n_steps=0)),
    }


@pytest.fixture(scope="module")
def parted():
    """Return a document with every part."""
    options = {"weight_decay": 0.1, "eps": 0.1}
    return optconform.compare(ADAMW, ADAMW, options_b=options, traces=["synthetic:small"]).to_json()


def test_the_schema_is_valid_itself():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_sort_of_result_is_valid(results):
    for document in results.values():
        validate(document)
    assert {document["outcome"] for document in results.values()} == set(SCHEMA["properties"]["outcome"]["enum"])
    assert {document["exit_status"] for document in results.values()} == {0, 1, 3, 4}


def test_every_field_is_described(parted):
    """A field that the schema does not name is a field that nobody promised."""
    document = parted
    parts = {
        "first": "side",
        "second": "side",
        "parting": "parting",
        "translation": "translation",
    }
    assert set(document) == set(SCHEMA["properties"]) == set(SCHEMA["required"])
    for key, name in parts.items():
        assert set(document[key]) == set(SCHEMA["$defs"][name]["properties"])
    assert set(document["differences"][0]) == set(SCHEMA["$defs"]["difference"]["properties"])


def _set(path, value):
    def change(document):
        *above, last = path
        for key in above:
            document = document[key]
        document[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set(["outcome"], "equal"),
        _set(["schema"], "optconform/compare/2"),
        _set(["reason"], ""),
        _set(["exit_status"], 2),
        _set(["first", "rule"], "adam"),
        _set(["second", "framework"], None),
        _set(["ratio"], "large"),
        _set(["parting", "step"], 0),
        _set(["parting", "element"], [0.5]),
        _set(["differences", 0, "shows"], "yes"),
        _set(["differences", 0, "name"], ""),
        _set(["translation", "exists"], "maybe"),
        _set(["translation", "obstacles"], [{"axis": "law"}]),
        _set(["elements"], -1),
        lambda document: document.pop("judged_by"),
        lambda document: document["translation"].pop("values"),
    ],
)
def test_a_broken_document_is_refused(parted, change):
    document = copy.deepcopy(parted)
    change(document)
    with pytest.raises(jsonschema.ValidationError):
        validate(document)


def test_fields_may_be_added(parted):
    document = copy.deepcopy(parted)
    document["later"] = document["parting"]["later"] = 1
    validate(document)
