"""`optconform trace`: results on standard output, everything else on standard error."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from optconform.adapters.protocol import SparseRows
from optconform.adapters.recording import GroupValues, TrainingStep
from optconform.conformance.cli.trace import trace as command
from optconform.conformance.traces import (
    Parameter,
    TraceError,
    open_trace,
    shipped_names,
    synthetic_kinds,
    synthetic_trace,
    write_trace,
)
from optconform.conformance.traces.appending import TraceAppender
from optconform.conformance.traces.generated import FORM
from optconform.conformance.traces.run import RecordedRun, Sample


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
    assert names == [*shipped_names(), *(f"synthetic:{kind}" for kind in synthetic_kinds()), FORM]
    assert all(entry["description"] for entry in document["traces"])


def test_info():
    result = run("info", "digits_cnn", "--no-separability")
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
    assert result.stderr.startswith(f"wrote {path}: 4 steps, 3 parameters, ")
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


@pytest.fixture
def recorded(tmp_path):
    """A recorded run of 4 steps: a sample of `w`, `emb` with sparse gradients, a schedule, a skipped step, a state."""
    parameters = (Parameter("w", (5,), "float32", (100, 100)), Parameter("emb", (10, 2), "float32"))
    theta = {each.name: np.full(each.shape, 0.5, np.float32) for each in parameters}
    folder = tmp_path / "runs" / "run.trace"
    folder.mkdir(parents=True)
    appender = TraceAppender(
        folder,
        folder,
        name="run",
        parameters=parameters,
        initial=theta,
        coordinates={"w": np.arange(0, 50, 10)},
        provenance={"script": "train.py"},
        run=RecordedRun("torch", "torch.optim.adamw:AdamW", sample=Sample(5, 3)),
        lr_base=None,
    )
    appender.begin_segment(1000, {"theta": theta, "m": theta})
    for step, lr in enumerate((0.1, 0.1, 0.05, 0.025), start=1):
        rows = SparseRows(np.array([1, 7]), np.full((2, 2), 0.25, np.float32), (10, 2))
        gradients = {} if step == 3 else {"w": theta["w"] * step, "emb": rows}
        groups = (GroupValues(("w", "emb"), {"lr": lr, "weight_decay": 0.01, "betas": [0.9, 0.99]}),)
        appender.append(TrainingStep(gradients, lr, groups, after=theta, skipped=step == 3))
    appender.close()
    return folder


def test_info_of_a_recorded_run(recorded):
    result = run("info", recorded, "--no-separability")
    assert (result.exit_code, result.stderr) == (0, "")
    for text in (
        "5 of 100x100",
        "recorded  torch, torch.optim.adamw:AdamW",
        "segments  1, with the state before step 1 (training step 1000)",
        "snapshots theta after each step",
        "skipped   1 of 4 steps: 3",
        "lr 0.1 to 0.025 (3 values), weight_decay 0.01, betas [0.9, 0.99]",
        "20.00%",
        " on the disk",
    ):
        assert text in result.stdout


def test_info_of_a_recorded_run_in_json(recorded):
    document = json.loads(run("info", recorded, "--no-separability", "--format", "json").stdout)
    assert document["bytes_on_disk"] == sum(file.stat().st_size for file in recorded.iterdir())
    w, emb = document["parameters"]
    assert (w["shape"], w["size"], w["sampled_from"], w["row_fraction"]) == ([5], 5, [100, 100], None)
    assert (emb["sampled_from"], emb["row_fraction"], emb["zero_fraction"]) == (None, 0.2, 0.8)
    recorded_run = document["run"]
    assert recorded_run["groups"] == [
        {
            "parameters": ["w", "emb"],
            "hyperparameters": {
                "lr": {"first": 0.1, "last": 0.025, "values": 3},
                "weight_decay": {"first": 0.01, "last": 0.01, "values": 1},
                "betas": {"first": [0.9, 0.99], "last": [0.9, 0.99], "values": 1},
            },
        }
    ]
    assert recorded_run["sample"] == {"size": 5, "seed": 3}
    assert recorded_run["segments"] == [{"step": 1, "training_step": 1000}]
    assert (recorded_run["snapshots"], recorded_run["skipped"]) == (True, [3])


def test_info_of_what_was_not_recorded():
    for name, on_disk in (("digits_mlp", True), ("synthetic:zero", False)):
        document = json.loads(run("info", name, "--no-separability", "--format", "json").stdout)
        assert document["run"] is None
        assert (document["bytes_on_disk"] is not None) is on_disk
        assert all(each["sampled_from"] is None and each["row_fraction"] is None for each in document["parameters"])
    assert "recorded" not in run("info", "synthetic:zero", "--no-separability").stdout


def test_verify_counts_what_was_recorded(recorded):
    result = run("verify", recorded)
    assert "4 steps, 2 parameters (1 sampled), 1 state, theta after each step, 1 step skipped" in result.stdout


def test_list_of_a_folder(recorded, stored):
    for folder, names in ((recorded.parent, [recorded]), (recorded, [recorded]), (stored.parent, [stored])):
        document = json.loads(run("list", folder, "--format", "json").stdout)
        assert [entry["name"] for entry in document["traces"]] == [str(name) for name in names]
    entries = json.loads(run("list", recorded.parent, stored, "--format", "json").stdout)["traces"]
    assert [entry["source"] for entry in entries] == ["recorded", "directory"]
    assert entries[0]["description"].startswith("torch.optim.adamw:AdamW, 4 steps, 2 parameters (1 sampled), ")
    result = run("list", recorded.parent)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "torch.optim.adamw:AdamW" in result.stdout


@pytest.mark.parametrize("folder", ["nowhere", "https://example.org/run.trace", __file__])
def test_list_of_what_is_no_folder(folder):
    result = run("list", folder)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "FOLDER" in result.stderr
    assert folder in result.stderr


def test_list_goes_on_after_a_damaged_trace(recorded):
    damaged = recorded.with_name("a")
    damaged.mkdir()
    (damaged / "index.json").write_text("{}")
    result = run("list", recorded.parent)
    assert result.exit_code == 2
    assert "run.trace" in result.stdout.replace("\n", "")
    assert "schema" in result.stderr


def test_cut(recorded, tmp_path):
    path = tmp_path / "cut.trace"
    arguments = ("cut", recorded, "--output", path, "--steps", "1:3", "--parameter", "e*", "--coordinates", 6)
    result = run(*arguments, "--seed", 4)
    assert (result.exit_code, result.stdout) == (0, "")
    trace = open_trace(path)
    assert result.stderr.startswith(f"wrote {path}: 2 steps, 1 parameter (1 sampled), 1 state, ")
    assert trace.sha256 in result.stderr
    assert (trace.name, [(p.name, p.shape, p.sampled_from) for p in trace.parameters]) == (
        "cut",
        [("emb", (6,), (10, 2))],
    )
    assert isinstance(run(*arguments).exception, TraceError)
    assert run(*arguments, "--overwrite").exit_code == 0


def test_cut_says_what_is_left_out(recorded, tmp_path):
    result = run("cut", recorded, "--output", tmp_path / "cut", "--steps", "2:4")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Note: the steps kept begin or go on where the optimizer's state was not recorded" in result.stderr
    assert open_trace(tmp_path / "cut").run.after == ()


def test_cut_of_shipped_traces_takes_several_parameters(tmp_path):
    names = ("--parameter", "conv_1/kernel", "--parameter", "*bias")
    assert run("cut", "digits_cnn", "--output", tmp_path / "cut", *names).exit_code == 0
    first, *others = open_trace(tmp_path / "cut").parameters
    assert first.name == "conv_1/kernel"
    assert others
    assert all(each.name.endswith("bias") for each in others)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to cut: give --steps, --parameter or --coordinates"),
        (("--steps", "1-3"), "should be A:B"),
        (("--steps", "1:x"), "should be A:B"),
        (("--steps", "-1:3"), "should be A:B"),
        (("--coordinates", "0"), "x>=1"),
        (("--coordinates", "2", "--seed", "-1"), "x>=0"),
        (("--coordinates", "2", "--seed", str(2**1024)), "less than 2**1024"),
        (("--steps", "5:5"), "found steps 5:5 of 60"),
        (("--steps", "9:3"), "found steps 9:3 of 60"),
        (("--steps", "0:3"), "found steps 0:3 of 60"),
        (("--steps", "1:62"), "found steps 1:62 of 60"),
        (("--steps", f"1:{2**64}"), f"found steps 1:{2**64} of 60"),
        (("--parameter", "layer_1.wieght"), "no parameter 'layer_1.wieght'"),
    ],
)
def test_cuts_that_cannot_be(tmp_path, arguments, message):
    result = run("cut", "digits_mlp", "--output", tmp_path / "cut", *arguments)
    said = str(result.exception) if isinstance(result.exception, TraceError) else result.stderr
    assert message in said
    assert result.exit_code == 2 or isinstance(result.exception, TraceError)
    assert not (tmp_path / "cut").exists()


def test_info_says_what_can_be_told_apart():
    document = json.loads(run("info", "digits_cnn", "--format", "json").stdout)
    rows = {(row["at"], row["dtype"]): row for row in document["separability"]}
    assert len(rows) == len(document["separability"]) == 12
    wide, narrow = rows["adam, probe", "float32"], rows["adam, probe", "bfloat16"]
    assert wide["hyperparameters"]["weight_decay"] == 0.5
    assert (wide["separable"], wide["inseparable"]) == (wide["rivals"], [])
    assert 0 < narrow["separable"] < narrow["rivals"] == narrow["separable"] + len(narrow["inseparable"])
    assert all("=" in name or name in ("adam_l2", "adamw") for name in narrow["inseparable"])


def test_info_of_zeros_does_not_tell_what_momentum_does(tmp_path):
    write_trace(synthetic_trace("zero", shapes={"w": (3,)}, n_steps=3), tmp_path / "zeros")
    document = json.loads(run("info", tmp_path / "zeros", "--format", "json").stdout)
    text = run("info", tmp_path / "zeros").stdout
    assert "sgd, probe: lr 0.05, weight_decay 0.5" in text
    sgd = next(row for row in document["separability"] if row["at"] == "sgd, probe")
    assert "sgdw[nesterov=True]" in sgd["inseparable"]
    assert "sgd_l2[nesterov=True]" not in sgd["inseparable"]  # there lambda*theta is a gradient
    assert f"{sgd['separable']} of {sgd['rivals']}" in text


def test_info_without_separability():
    arguments = ("info", "digits_mlp", "--no-separability")
    assert json.loads(run(*arguments, "--format", "json").stdout)["separability"] is None
    assert "told apart" not in run(*arguments).stdout
