"""`optconform trace record`: the command runs as it would without, and what is not recorded is told with its reason."""

import json
import os
import signal
import subprocess
import sys
import types
import venv
from pathlib import Path

import pytest

from optconform.conformance.recording import attaching
from optconform.conformance.recording.attaching import MOST, Attacher, process_rank
from optconform.conformance.recording.launching import outcome, python_options_in_the_way
from optconform.conformance.recording.meeting import EVENTS_FILE, STARTUP, VARIABLE, Meeting
from optconform.conformance.recording.options import RecordingOptions

posix = pytest.mark.skipif(os.name == "nt", reason="signals and scripts of POSIX")

SURROUNDINGS = """
    import json, os, sys
    modules, finders = sorted(sys.modules), [type(finder).__qualname__ for finder in sys.meta_path]
    print(json.dumps([sys.argv, __name__, __file__, sys.path, modules, finders, sys.stdin.read()]))
"""


def with_inherited(folder):
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


def without_recording(command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_a_script_sees_what_it_sees_without(tmp_path, script, trace_record, monkeypatch):
    command = [*script(SURROUNDINGS), "--output", "mine", "--", "x"]
    monkeypatch.setattr(sys, "stdin", None)
    plain = without_recording(command, cwd=tmp_path, stdin=subprocess.DEVNULL)
    recorded = trace_record("--", *command)
    expected, found = json.loads(plain.stdout), json.loads(recorded.out)
    finders = found[5]
    assert finders[0] == "_Watch"
    assert [*found[:5], finders[1:], found[6]] == expected
    assert (recorded.status, recorded.err.count("\n")) == (2, 1)
    assert "neither PyTorch nor Keras was imported" in recorded.err


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 2),
        ("import sys; sys.exit(3)", 3),
        ("import os; os._exit(4)", 4),
        ("raise KeyError('mine')", 1),
        pytest.param("import os; os.kill(os.getpid(), 9)", 137, marks=posix),
        pytest.param("raise KeyboardInterrupt", 130, marks=posix),
    ],
)
def test_exit_status_and_traceback_are_the_commands_own(tmp_path, script, trace_record, code, status):
    command = script(code)
    plain = without_recording(command, cwd=tmp_path)
    recorded = trace_record("--", *command)
    assert recorded.status == status
    assert recorded.err.startswith(plain.stderr)
    assert recorded.err.removeprefix(plain.stderr).startswith("optconform: nothing was recorded: ")


def test_the_exit_status_can_tell_recorded_from_not():
    assert outcome(Path("run.trace"), [("rank", "3"), ("started", "python"), ("rank", "2")]).status == 0
    assert outcome(Path("run.trace"), [("started", "python")]).status == 2


@pytest.mark.parametrize("code", ["import builtins; builtins.mark = 'hidden'", "raise ValueError('hidden')"])
def test_a_sitecustomize_that_is_shadowed_runs(tmp_path, script, trace_record, monkeypatch, code):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", with_inherited("site"))
    command = script("import builtins, sys; print(vars(builtins).get('mark'), sys.modules.get('sitecustomize'))")
    plain = without_recording(command, cwd=tmp_path)
    recorded = trace_record("--", *command)
    assert "hidden" in plain.stdout + plain.stderr
    assert recorded.out == plain.stdout
    assert recorded.err.startswith(plain.stderr)
    assert "neither PyTorch nor Keras" in recorded.err, "the recording hooked in besides"


@pytest.mark.parametrize("option", ["-I", "-E", "-S", "-uIB"])
def test_a_python_that_reads_no_startup_is_told(script, trace_record, option):
    python, name = script("print('ran')")
    recorded = trace_record("--", python, option, name)
    assert (recorded.status, recorded.out.strip()) == (2, "ran")
    early, late = recorded.err.splitlines()
    assert early.startswith(f"{option} keeps this Python from being recorded")
    assert "no Python was started that reads PYTHONPATH" in late


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("python -Im trainer", "-Im"),
        ("/usr/bin/python3.12 -X utf8 -W ignore -S t.py", "-S"),
        ("python -Wignore -E", "-E"),
        ("python -WIgnore -XIS t.py", None),
        ("python -mIS", None),
        ("python t.py -E", None),
        ("python -c I -E", None),
        ("python --check-hash-based-pycs always -c x", None),
        ("python -", None),
        ("torchrun -I", None),
    ],
)
def test_options_of_python_in_the_way(command, option):
    assert python_options_in_the_way(command.split()) == option


FAKE_TORCH = {
    "torch/__init__.py": "from . import compiler, optim",
    "torch/compiler.py": "def is_compiling(): return False",
    "torch/optim/__init__.py": "from .optimizer import Optimizer",
    "torch/optim/optimizer.py": """
import torch
hooks = []
register_optimizer_step_pre_hook = hooks.append
class Optimizer:
    def step(self):
        for hook in hooks:
            assert hook(self, (), {}) is None
""",
}
TRAINING = """
    import sys
    assert "optconform" not in sys.modules
    import torch
    assert "exec_module" not in vars(torch.optim.optimizer.__loader__)
    assert "numpy" not in sys.modules and "optconform" not in sys.modules
    optimizer = torch.optim.Optimizer()
    optimizer.step()
    optimizer.step()
    print("trained")
"""


@pytest.fixture
def fake_torch(tmp_path, monkeypatch):
    """A package that has of PyTorch the place where the recording hooks in, and nothing that could be recorded."""
    monkeypatch.setenv("PYTHONPATH", with_inherited(tmp_path))
    for name, code in FAKE_TORCH.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)


@pytest.mark.usefixtures("fake_torch")
def test_what_cannot_be_recorded_is_told_and_trains_on(script, trace_record):
    recorded = trace_record("--", *script(TRAINING))
    assert (recorded.status, recorded.out.strip()) == (2, "trained")
    assert recorded.err.startswith("optconform: not recorded: torch.optim.optimizer:Optimizer: ")
    assert recorded.err.count("\n") == 1, "each optimizer is told once"


@pytest.mark.usefixtures("fake_torch")
def test_an_optimizer_that_cannot_even_be_remembered_trains_on(script, trace_record):
    """No weak reference to it can be had."""
    code = """
        import torch
        for hook in torch.optim.optimizer.hooks:
            hook(object(), (), {})
        print("trained")
    """
    recorded = trace_record("--", *script(code))
    assert (recorded.status, recorded.out.strip()) == (2, "trained")
    assert "optconform: not recorded: object (TypeError: cannot create weak reference" in recorded.err


@pytest.mark.usefixtures("fake_torch")
def test_no_step_is_told(script, trace_record):
    recorded = trace_record("--", *script("import torch, importlib; importlib.reload(torch.optim.optimizer)"))
    assert recorded.status == 2
    assert "torch.optim.optimizer was imported, but no optimizer of it made a step" in recorded.err


@posix
@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize("through", ["module", "shell", "executable"])
def test_every_way_to_start_python_is_recorded(tmp_path, script, trace_record, through):
    python, name = script(f"#!{sys.executable}\n" + TRAINING.replace("\n    ", "\n"))
    (tmp_path / name).chmod(0o755)
    command = {
        "module": [python, "-m", name.removesuffix(".py")],
        "shell": ["sh", "-c", f"cd .; '{python}' {name} && exit 0"],
        "executable": [f"./{name}"],
    }[through]
    recorded = trace_record("--", *command)
    assert recorded.out.strip() == "trained"
    assert "not recorded: torch.optim.optimizer:Optimizer" in recorded.err


@pytest.mark.usefixtures("fake_torch")
def test_an_interpreter_without_what_the_package_needs_is_named(tmp_path, script, trace_record, monkeypatch):
    """It is another environment; the package is found, since the command brings it along, but not NumPy."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # without what it may hold for this interpreter
    venv.create(tmp_path / "other", symlinks=os.name != "nt")
    other = tmp_path / "other" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    recorded = trace_record("--", other, *script(TRAINING)[1:])
    assert (recorded.status, recorded.out.strip()) == (2, "trained")
    at_once, at_the_end = recorded.err.splitlines()
    reason = f"{other} cannot import optconform (ModuleNotFoundError: No module named '"
    assert at_once.startswith(f"optconform records nothing here: {reason}")
    assert at_the_end.startswith(f"optconform: not recorded: {reason}")


@pytest.mark.usefixtures("fake_torch")
def test_another_interpreter_gets_this_package_and_no_other(tmp_path, script, trace_record, monkeypatch):
    """Beside the package stands what is meant for this interpreter alone."""
    for name in ("numpy", "ml_dtypes", "safetensors"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} of the other interpreter was asked for')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    venv.create(tmp_path / "other", symlinks=os.name != "nt")
    other = tmp_path / "other" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    recorded = trace_record("--", other, *script(TRAINING)[1:])
    assert "of the other interpreter was asked for" in recorded.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["python", "train.py"], "no command to record: it stands after `--`"),
        (["--"], "no command to record"),
        (["--steps", "5", "--", "touch", "ran"], "should be A:B or A:B:N"),
        (["--steps", "5:9:0", "--", "touch", "ran"], "with N above 0"),
        (["--steps", "0:9", "--", "touch", "ran"], "from 1 on"),
        (["--steps", "9:9", "--", "touch", "ran"], "that holds a step"),
        (["--sample", "0", "--", "touch", "ran"], "--sample"),
        (["surplus", "--", "touch", "ran"], "unexpected extra argument (surplus)"),
        (["--", "no-such-program-anywhere"], "No such file or directory: 'no-such-program-anywhere'"),
    ],
)
def test_usage_errors(trace_record, arguments, message):
    recorded = trace_record(*arguments)
    assert (recorded.status, recorded.out) == (2, "")
    assert message in recorded.err
    assert not Path("ran").exists()


@pytest.mark.parametrize("output", ["missing/run.trace", "taken"])
def test_an_output_that_cannot_be_written_is_refused_before_the_command_runs(tmp_path, trace_record, output):
    (tmp_path / "taken").mkdir()
    recorded = trace_record("--", "touch", "ran", output=output)
    assert recorded.status == 2
    assert "Choose another name" in recorded.err or "Create " in recorded.err
    assert not Path("ran").exists()


def test_nothing_of_weight_is_imported_for_help(tmp_path):
    code = (
        "import sys; from optconform.conformance.cli.main import main; assert not main(['trace', 'record', '--help']);"
        "sys.exit(','.join({'numpy', 'rich', 'safetensors', 'subprocess'} & {*sys.modules}) or 0)"
    )
    done = without_recording([sys.executable, "-c", code], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "-- COMMAND [ARGUMENT]..." in " ".join(done.stdout.split())


def test_the_startup_is_inert_where_no_command_waits(tmp_path):
    """A process may outlive the command that it inherited its environment from."""
    environment = {**os.environ, "PYTHONPATH": str(STARTUP), VARIABLE: str(tmp_path / "gone")}
    code = (
        "import sys; print([type(finder).__qualname__ for finder in sys.meta_path]);"
        "print(getattr(sys.modules.get('sitecustomize'), '__file__', None))"
    )
    done = without_recording([sys.executable, "-c", code], env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    finders, customized = done.stdout.splitlines()
    assert "_Watch" not in finders
    # Debian's Python has one of its own, which is found after this one has gone.
    assert not customized.startswith(str(STARTUP))


# Signals.

WAITING = """
    import signal, sys, time
    def end(number, frame):
        caught.append(number)
    caught = []
    signal.signal(signal.{name}, end)
    print("ready", flush=True)
    while not caught:
        time.sleep(0.005)
    time.sleep(0.1)  # a second one would come now
    sys.exit(40 + len(caught))
"""


def launcher(*command):
    return [sys.executable, "-m", "optconform", "trace", "record", "--output", "run.trace", "--", *command]


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_the_command_reaches_what_it_runs(tmp_path, script, name):
    command = launcher(*script(WAITING.format(name=name)))
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, name))
        assert process.wait(30) == 41


# On Linux a terminal becomes that of a session by being opened.
CONTROLLED = "import os, sys; os.open(sys.argv[1], os.O_RDWR); os.execv(sys.argv[2], sys.argv[2:])"


@pytest.mark.skipif(sys.platform != "linux", reason="a terminal of its own for the command")
def test_the_keyboard_interrupts_once(tmp_path, script):
    """The terminal sends it to the command and to what it runs: passing it on would make two of it."""
    mine, terminal = os.openpty()
    command = [
        sys.executable,
        "-c",
        CONTROLLED,
        os.ttyname(terminal),
        *launcher(*script(WAITING.format(name="SIGINT"))),
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout.readline() == "ready\n"
        os.write(mine, b"\x03")
        assert process.wait(30) == 41
    os.close(terminal)
    os.close(mine)


# Inside the process.


class Optimizer:
    """Something that is met; what it does is of no interest here."""


@pytest.fixture
def meeting(tmp_path, monkeypatch, trace_record):
    """A run of the command, and a recorder that notes what it is asked for."""
    asked = []
    monkeypatch.setattr(attaching, "record", lambda target, path, **options: asked.append((target, path, options)))
    folder = tmp_path / "meeting"
    folder.mkdir()
    options = RecordingOptions(sample=7, steps=range(3, 9, 2), snapshots=True)
    begun = Meeting.begin(folder, Path("run.trace"), options)
    return types.SimpleNamespace(begun=begun, asked=asked, told=[], folder=folder)


def attacher(meeting):
    return Attacher(str(meeting.folder), lambda folder, kind, detail: meeting.told.append((kind, detail)))


def test_optimizers_get_names_in_the_order_of_their_first_steps(tmp_path, meeting):
    first, second, third = Optimizer(), Optimizer(), Optimizer()
    (tmp_path / "run-2.trace").mkdir()
    here, other_process = attacher(meeting), attacher(meeting)
    for one in (first, second, first, second):
        here.attach(one)
    other_process.attach(third)
    names = ["run.trace", "run-3.trace", "run-4.trace"]
    assert [(target, path) for target, path, _ in meeting.asked] == [
        (one, tmp_path / name) for one, name in zip((first, second, third), names, strict=True)
    ]
    assert meeting.told == [("recording", name) for name in names]
    options = {"sample": 7, "seed": 0, "steps": range(3, 9, 2), "every": 1, "snapshots": True, "overwrite": False}
    assert meeting.asked[0][2] == options


def test_an_optimizer_in_the_place_of_one_that_is_gone_is_another(meeting):
    here = attacher(meeting)
    here.attach(Optimizer())
    held = [Optimizer() for _ in range(3)]
    meeting.asked.clear()
    here._met = dict.fromkeys(map(id, held), here._met.popitem()[1])
    here.attach(held[0])
    assert [target for target, _, _ in meeting.asked] == [held[0]]


def test_no_more_than_so_many_are_recorded(meeting):
    here, held = attacher(meeting), [Optimizer() for _ in range(MOST + 2)]
    for one in held:
        here.attach(one)
    assert len(meeting.asked) == MOST
    assert [kind for kind, _ in meeting.told[MOST:]] == ["beyond", "beyond"]


def test_a_name_that_was_not_used_is_left_to_the_next(monkeypatch, tmp_path, meeting):
    def refuse(target, path, **options):
        raise TypeError("cannot record it")

    here, note = attacher(meeting), attaching.record
    monkeypatch.setattr(attaching, "record", refuse)
    here.attach(refused := Optimizer())
    monkeypatch.setattr(attaching, "record", note)
    here.attach(taken := Optimizer())
    assert refused is not taken
    assert [path for _, path, _ in meeting.asked] == [tmp_path / "run.trace"]
    (kind, reason), recording = meeting.told
    assert (kind, recording) == ("refused", ("recording", "run.trace"))
    assert reason.endswith(":Optimizer: TypeError: cannot record it")


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, 0),
        ({"RANK": "0", "LOCAL_RANK": "3"}, 0),
        ({"RANK": "5", "LOCAL_RANK": "1"}, 5),
        ({"LOCAL_RANK": "2", "SLURM_PROCID": "0"}, 2),
        ({"OMPI_COMM_WORLD_RANK": "1"}, 1),
        ({"PMI_RANK": "4"}, 4),
        ({"RANK": "", "SLURM_PROCID": "6"}, 6),
    ],
)
def test_rank_of_the_process(monkeypatch, meeting, environment, rank):
    monkeypatch.setitem(sys.modules, "torch.distributed", None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert process_rank() == rank
    attacher(meeting).attach(optimizer := Optimizer())
    assert meeting.told == [("recording", "run.trace") if rank == 0 else ("rank", str(rank))]
    assert [target for target, _, _ in meeting.asked] == [optimizer] * (rank == 0)


def test_the_rank_that_torch_knows_counts_first(monkeypatch):
    distributed = types.SimpleNamespace(is_available=lambda: True, is_initialized=lambda: True, get_rank=lambda: 3)
    monkeypatch.setitem(sys.modules, "torch.distributed", distributed)
    monkeypatch.setenv("RANK", "0")
    assert process_rank() == 3


def test_names_go_on_beside_an_output_without_suffix(tmp_path, meeting):
    begun = Meeting.begin(meeting.folder, tmp_path / "run.a", RecordingOptions())
    assert [begun.claim(2), begun.claim(2), begun.claim(2)] == [tmp_path / "run.a", tmp_path / "run-2.a", None]
    plain = Meeting.begin(meeting.folder, tmp_path / "plain", RecordingOptions())
    assert [plain.claim(2), plain.claim(2)] == [tmp_path / "plain", tmp_path / "plain-2"]


def test_a_meeting_is_joined_as_it_was_begun(meeting):
    assert Meeting.join(meeting.folder) == meeting.begun


def test_events_arrive_as_they_were_told(meeting):
    code = f"import sys; sys.path.insert(0, {str(STARTUP)!r}); import importlib.util as u;"
    code += f"s = u.spec_from_file_location('startup', {str(STARTUP / 'sitecustomize.py')!r});"
    code += "m = u.module_from_spec(s); s.loader.exec_module(m);"
    code += f"assert m.tell({str(meeting.folder)!r}, 'refused', 'é\\n\"\\udcff')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert meeting.begun.events() == [("refused", 'é\n"\udcff')]
    assert (meeting.folder / EVENTS_FILE).read_bytes().isascii()
