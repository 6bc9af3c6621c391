"""`optconform trace`: results on standard output, everything else on standard error."""

import json

import pytest
from click.testing import CliRunner

from optconform.conformance.cli.trace import trace as command
from optconform.conformance.traces import TraceError, open_trace, shipped_names, synthetic_kinds, write_trace


def run(*arguments):
    return CliRunner(env={"COLUMNS": "120"}).invoke(command, [str(argument) for argument in arguments])


def test_list():
    result = run("list")
    assert result.exit_code == 0
    assert result.stderr == ""
    for name in (*shipped_names(), *synthetic_kinds()):
        assert name in result.stdout


def test_list_json():
    document = json.loads(run("list", "--format", "json").stdout)
    names = [entry["name"] for entry in document["traces"]]
    assert names == [*shipped_names(), *(f"synthetic:{kind}" for kind in synthetic_kinds())]
    assert all(entry["description"] for entry in document["traces"])


def test_info():
    result = run("info", "digits_cnn")
    assert (result.exit_code, result.stderr) == (0, "")
    for text in ("conv_2/kernel", "3x3x8x12", "60 steps, 8 parameters", "float32", "0.1 at first", "keras", "warm-up"):
        assert text in result.stdout


def test_info_json(stored):
    result = run("info", stored, "--format", "json")
    document = json.loads(result.stdout)
    trace = open_trace(stored)
    assert (document["sha256"], document["steps"]) == (trace.sha256, 5)
    assert document["multipliers"] == list(trace.multipliers)
    assert document["provenance"] == trace.provenance
    w, s = document["parameters"]
    assert (w["name"], w["shape"], w["dtype"], w["size"]) == ("w", [3, 4], "float32", 12)
    assert (s["shape"], s["size"]) == ([], 1)
    assert 0 < w["smallest_nonzero"] < w["largest"] <= 1e4
    assert w["steps_with_gradient"] == 4


def test_info_of_an_empty_trace_and_of_names_with_control_characters(tools, tmp_path):
    write_trace(tools.tiny_trace(multipliers=(), gradients=(), name="a\x1b[2J[red]b"), tmp_path / "empty")
    result = run("info", tmp_path / "empty")
    assert result.exit_code == 0
    assert "no steps" in result.stdout
    assert "scalar" in result.stdout
    assert r"a\x1b[2J[red]b" in result.stdout
    assert json.loads(run("info", tmp_path / "empty", "--format", "json").stdout)["parameters"][0]["largest"] is None


@pytest.mark.parametrize("name", ["digits_mpl", "synthetic:nothing"])
@pytest.mark.parametrize("output_format", ["text", "json"])
def test_info_of_nothing(name, output_format):
    result = run("info", name, "--format", output_format)
    assert isinstance(result.exception, TraceError)
    assert result.stdout == ""


def test_verify(stored):
    result = run("verify", *shipped_names(), stored, "synthetic:zero")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count(": sound, ") == len(shipped_names()) + 2
    assert open_trace(stored).sha256 in result.stdout


def test_verify_goes_on_after_a_damaged_trace(stored):
    shard = stored / "gradients-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
    result = run("verify", stored, "digits_mlp", "nope")
    assert result.exit_code == 2
    assert result.stdout.count(": sound, ") == 1
    assert "gradients-00002.safetensors: found SHA-256" in result.stderr
    assert "nope: found neither" in result.stderr


def test_verify_needs_a_trace():
    assert run("verify").exit_code == 2


def test_make(tmp_path):
    path = tmp_path / "t"
    arguments = ("make", "mixed", "--output", path, "--seed", 3, "--steps", 4, "--dtype", "bfloat16")
    result = run(*arguments, "--shape", "w=2x0x3", "--shape", "a=b=", "--shape", "v=7")
    assert (result.exit_code, result.stdout) == (0, "")
    trace = open_trace(path)
    assert trace.sha256 in result.stderr
    assert (trace.name, trace.n_steps) == ("synthetic:mixed:3", 4)
    assert [(p.name, p.shape, p.dtype) for p in trace.parameters] == [
        ("w", (2, 0, 3), "bfloat16"),
        ("a=b", (), "bfloat16"),
        ("v", (7,), "bfloat16"),
    ]
    assert isinstance(run(*arguments).exception, TraceError)
    assert run(*arguments, "--overwrite").exit_code == 0
    assert [p.name for p in open_trace(path).parameters] == ["weight", "bias", "scale"]


def test_make_nothing_known(tmp_path):
    result = run("make", "mixd", "--output", tmp_path / "t")
    assert isinstance(result.exception, TraceError)
    assert "Did you mean 'mixed'?" in str(result.exception)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("shape", ["w", "=3", "w=3x", "w=-1", "w=3,4", "w=²"])
def test_make_refuses_a_shape(tmp_path, shape):
    result = run("make", "zero", "--output", tmp_path / "t", "--shape", shape)
    assert result.exit_code == 2
    assert "weight=16x8" in result.stderr


def test_make_refuses_a_shape_given_twice(tmp_path):
    result = run("make", "zero", "--output", tmp_path / "t", "--shape", "w=2", "--shape", "w=3")
    assert result.exit_code == 2
    assert "given twice" in result.stderr
