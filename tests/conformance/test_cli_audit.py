"""`optconform audit`, in process: text, JSON, files, exit codes, mistakes."""

import json
import os
import shlex
import stat

import pytest

ADAMW, SGDW = (f"optconform.adapters.numpy_optimizers:{name}" for name in ("AdamW", "SGDW"))
TRACE = ("--trace", "synthetic:mixed")

PLAIN = """
import numpy as np
class Plain:
    def __init__(self, weight_decay=0.0): self.weight_decay = weight_decay
    def step(self, params, grads, lr):
        return {name: theta if grads[name] is None else theta - lr * np.tanh(grads[name]) - lr * DECAY * theta
                for name, theta in params.items()}
""".replace("DECAY", "self.weight_decay")


@pytest.fixture
def target(tmp_path):
    """Write a file and return `path:attribute`."""

    def write(source=PLAIN, attribute="Plain", name="mine.py"):
        path = tmp_path / name
        path.write_text(source, encoding="utf-8")
        return f"{path}:{attribute}"

    return write


def as_json(run, *arguments):
    status, out, _ = run(*arguments, "--format", "json")
    return status, json.loads(out)


class TestExitStatus:
    def test_0_as_expected(self, run):
        assert run("audit", ADAMW, *TRACE, "--expect", "decoupled,law=lr*wd,order=previous,epsilon=outside")[0] == 0

    @pytest.mark.parametrize("axis", ["law=wd", "order=updated", "epsilon=hat", "momentum=lr_inside"])
    def test_1_an_axis_is_not_as_expected(self, run, axis):
        spec = SGDW if "momentum" in axis else ADAMW
        status, out, _ = run("audit", spec, *TRACE, "--expect", f"decoupled,{axis}")
        assert status == 1
        wanted = axis.partition("=")[2]
        assert f"expected {wanted}" in out or f"{wanted} was expected" in out

    def test_1_the_kind_is_not_as_expected(self, run):
        assert run("audit", ADAMW, *TRACE, "--expect", "l2")[0] == 1

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["nothing"], "'nothing' is not a target"),
            (["no.such.module:X"], "no module named no"),
            (["optconform.adapters.numpy_optimizers:AdamWW"], "Did you mean AdamW"),
            (["/nowhere/mine.py:X"], "/nowhere/mine.py does not exist"),
            ([ADAMW, "--set", "betta1=0.5"], "Did you mean 'beta1'?"),
            ([ADAMW, "--set", "beta1"], "'beta1' should be NAME=VALUE"),
            ([ADAMW, "--set", "beta1=fast"], "'fast' in 'beta1=fast' is no Python literal"),
            ([ADAMW, "--set", "beta1=__import__('os')"], "is no Python literal"),
            ([ADAMW, "--set", "beta-1=2"], "should be NAME=VALUE"),
            ([ADAMW, "--map", "lr"], "should be CANONICAL=NAME"),
            ([ADAMW, "--map", "lr=nope"], "has no option 'lr'"),
            ([ADAMW, "--expect", "decopled"], "did you mean 'decoupled'?"),
            ([ADAMW, "--expect", ""], "verdict ''"),
            ([ADAMW, "--select", "OC1"], "unknown code 'OC1'"),
            ([ADAMW, "--ignore", "coupled-decay"], "unknown code 'coupled-decay'"),
            ([ADAMW, "--trace", "digits"], "digits"),
            ([ADAMW, "--paths", "eager"], "no path 'eager'"),
            ([ADAMW, "--framework", "theano"], "theano"),
            ([ADAMW, "--format", "xml"], "xml"),
            ([], "TARGET"),
            ([ADAMW, "--nonsense"], "--nonsense"),
        ],
    )
    def test_2_the_command_is_wrong(self, run, arguments, named):
        status, out, err = run("audit", *arguments, *([] if "--trace" in arguments else TRACE))
        assert (status, out) == (2, "")
        assert named in err

    def test_3_a_target_that_does_not_run(self, run, target):
        spec = target(PLAIN.replace("return {", "raise RuntimeError('boom'); return {"))
        status, out, _ = run("audit", spec, *TRACE)
        assert status == 3
        assert "OC902 error step-failed" in out
        assert "RuntimeError: boom" in out

    def test_3_a_device_that_is_not_there(self, run):
        assert run("audit", ADAMW, *TRACE, "--device", "cuda")[0] == 3

    def test_4_nothing_could_be_decided(self, run, tmp_path):
        assert run("trace", "make", "mixed", "--steps", "0", "--output", tmp_path / "empty")[0] == 0
        status, out, _ = run("audit", ADAMW, "--trace", tmp_path / "empty", "--expect", "any")
        assert status == 4
        assert "inconclusive" in out


class TestJson:
    def test_standard_output_is_one_document(self, run):
        status, document = as_json(run, "audit", ADAMW, *TRACE)
        assert (status, document["exit_status"], document["schema"]) == (0, 0, "optconform/audit/1")
        assert document["target"] == ADAMW

    def test_it_stays_one_document_where_the_target_prints(self, run, target):
        noisy = target("print('at import')\n" + PLAIN.replace("return {", "print('in the step'); return {"))
        status, out, err = run("audit", noisy, *TRACE, "--format", "json")
        document = json.loads(out)
        assert (status, document["verdict"], err) == (0, "decoupled", "")
        assert document["output"].startswith("at import\nin the step\n")

    def test_an_error_is_a_document_too(self, run, target):
        status, document = as_json(
            run, "audit", target("def Plain(**options): raise ValueError\n"), "--framework=numpy", *TRACE
        )
        assert (status, document["verdict"], document["exit_status"]) == (3, "error", 3)


class TestOutput:
    @pytest.mark.parametrize("form", ["text", "json"])
    def test_the_result_goes_to_the_file_whole(self, run, tmp_path, form):
        file = tmp_path / "result"
        file.write_text("old")
        status, out, _ = run("audit", ADAMW, *TRACE, "--format", form, "--output", file)
        assert (status, out) == (0, "")
        assert "decoupled" in file.read_text()
        assert [path.name for path in tmp_path.iterdir()] == ["result"]
        if form == "json":
            assert json.loads(file.read_text())["verdict"] == "decoupled"
        else:
            assert "\x1b" not in file.read_text()

    @pytest.mark.parametrize("place", ["absent/result", "file/result"])
    def test_a_place_that_cannot_be_written_is_a_wrong_command(self, run, tmp_path, place):
        (tmp_path / "file").write_text("")
        status, _, err = run("audit", ADAMW, *TRACE, "--output", tmp_path / place)
        assert status == 2
        assert f"--output '{tmp_path / place}' cannot be written" in err
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    @pytest.mark.parametrize("operation", ["write_text", "replace"])
    def test_a_write_that_fails_in_the_middle_leaves_the_old_result(self, run, tmp_path, monkeypatch, operation):
        file = tmp_path / "result"
        file.write_text("old")

        def full(self, *arguments, **more):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(f"pathlib.Path.{operation}", full)
        status, _, err = run("audit", ADAMW, *TRACE, "--output", file)
        assert status == 2
        assert "No space left on device" in err
        assert file.read_bytes() == b"old"
        assert [path.name for path in tmp_path.iterdir()] == ["result"]

    @pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
    def test_a_link_stays_and_leads_to_the_result(self, run, tmp_path):
        (tmp_path / "folder").mkdir()
        link = tmp_path / "link"
        link.symlink_to("folder/result")
        for _ in range(2):
            assert run("audit", ADAMW, *TRACE, "--output", link)[0] == 0
        assert link.is_symlink()
        assert "decoupled" in (tmp_path / "folder" / "result").read_text()

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
    def test_a_pipe_is_written_to_and_not_replaced(self, run, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDWR)
        try:
            assert run("audit", ADAMW, *TRACE, "--output", pipe)[0] == 0
            assert b"decoupled" in os.read(reader, 1 << 16)
        finally:
            os.close(reader)
        assert pipe.is_fifo()

    def test_others_may_read_what_is_written(self, run, tmp_path):
        file = tmp_path / "result"
        (tmp_path / "plain").write_text("")
        run("audit", ADAMW, *TRACE, "--output", file)
        assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


class TestText:
    @pytest.mark.parametrize("width", [80, 120, 200])
    @pytest.mark.parametrize("verbose", [(), ("-v",)])
    def test_every_width_says_what_matters(self, run, monkeypatch, width, verbose):
        monkeypatch.setenv("COLUMNS", str(width))
        status, out, _ = run("audit", ADAMW, *TRACE, *verbose)
        assert status == 0
        said = " ".join(out.split())
        for words in ("decoupled", "law lr*wd", "previous theta", "epsilon outside", "own distance", "nearest rival"):
            assert words in said
        assert "synthetic:mixed:0" in said
        assert "rerun: optconform audit" in said
        assert ("parameters, distances in what rounding explains" in said) is bool(verbose)

    def test_no_colour_where_none_is_wanted(self, run, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert "\x1b[" in run("audit", ADAMW, *TRACE)[1]
        monkeypatch.setenv("NO_COLOR", "1")
        assert "\x1b[3" not in run("audit", ADAMW, *TRACE)[1]

    def test_control_characters_are_shown_and_not_sent(self, run, target):
        hostile = target(
            PLAIN.replace("return {", "raise RuntimeError('\\x1b[2J\\x07 [bold]markup[/bold] \\u202e'); return {"),
            name="\x1b[31mmine.py",
        )
        status, out, err = run("audit", hostile, *TRACE)
        assert status == 3
        assert not set("\x1b\x07\u202e") & set(out + err)
        assert r"\x1b[2J\x07 [bold]markup[/bold] \u202e" in out
        assert r"\x1b[31mmine.py" in out


class TestRerun:
    def again(self, run, command):
        words = shlex.split(command)
        assert words[0] == "optconform"
        return run(*words[1:], "--format", "json")

    @pytest.mark.parametrize(
        "arguments",
        [
            (ADAMW, "--set", "beta1=0.8", "--set", "eps=1e-05", "--expect", "l2,law=wd"),
            (SGDW, "--set", "momentum=0.5", "--paths", "default"),
        ],
    )
    def test_the_command_printed_does_it_again(self, run, arguments):
        status, document = as_json(run, "audit", *arguments, *TRACE)
        printed = run("audit", *arguments, *TRACE)[1].rpartition("rerun: ")[2]
        assert printed.strip() == document["rerun"]
        second, out, _ = self.again(run, document["rerun"])
        assert second == status
        other = json.loads(out)
        for each in (document, other):
            each.pop("seconds")
        assert other == document

    def test_it_quotes_what_a_shell_would_take_apart(self, run, target):
        spec = target(name="a b$(c)'d.py")
        _, document = as_json(run, "audit", spec, *TRACE, "--map", "weight_decay=weight_decay")
        status, out, _ = self.again(run, document["rerun"])
        assert (status, json.loads(out)["target"]) == (0, spec)


def test_set_takes_python_literals(run, target):
    source = PLAIN.replace("weight_decay=0.0)", "weight_decay=0.0, mode='a', betas=(1, 2), flag=True, names=None)")
    _, document = as_json(
        run,
        *("audit", target(source), *TRACE, "--set", "mode='b c'", "--set", "betas=(.5, .25)"),
        *("--set", "flag=False", "--set", "names=None"),
    )
    assert document["verdict"] == "decoupled"
    words = shlex.split(document["rerun"])
    assert {"mode='b c'", "betas=(0.5, 0.25)", "flag=False", "names=None"} <= set(words)


def test_map_names_the_option(run, target):
    spec = target(PLAIN.replace("weight_decay=0.0):", "pull=0.0):").replace("= weight_decay", "= pull"))
    assert run("audit", spec, *TRACE)[0] == 1  # no option that is known to be weight decay
    status, document = as_json(run, "audit", spec, *TRACE, "--map", "weight_decay=pull", "--set", "weight_decay=0.1")
    assert (status, document["verdict"]) == (0, "decoupled")


def test_select_and_ignore_decide_what_counts(run):
    arguments = ("audit", ADAMW, *TRACE, "--expect", "decoupled,law=wd")
    assert run(*arguments)[0] == 1
    assert run(*arguments, "--ignore", "OC201")[0] == 0
    assert run(*arguments, "--select", "OC302")[0] == 0
    assert run(*arguments, "--select", "OC201")[0] == 1
    assert run(*arguments, "--select", "OC201", "--ignore", "OC201")[0] == 0
    assert "--ignore OC201" in run(*arguments, "--ignore", "OC201")[1].splitlines()[-1]  # the rerun command


def test_options_may_be_set_under_the_names_that_the_target_gives_them(run, target):
    spec = target(PLAIN.replace("weight_decay=0.0):", "wd=0.0):").replace("= weight_decay", "= wd"))
    status, document = as_json(run, "audit", spec, *TRACE, "--set", "wd=0.1")
    assert (status, document["verdict"], document["hyperparameters"]["weight_decay"]) == (0, "decoupled", 0.1)
