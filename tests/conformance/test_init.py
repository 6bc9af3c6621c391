"""`optconform init`: what it writes where, what it never writes, and what it refuses."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from optconform.adapters.frameworks import FRAMEWORKS
from optconform.conformance.cli.main import main
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.scaffold import files, frameworks
from optconform.conformance.scaffold.errors import ScaffoldError
from optconform.conformance.scaffold.plans import EXPECTATION

CHECKOUT = Path(__file__).resolve().parents[2]
WRITTEN = {
    ".github/workflows/optimizer.yml",
    ".gitignore",
    "README.md",
    "pyproject.toml",
    "src/decay_demo/__init__.py",
    "src/decay_demo/optimizer.py",
    "tests/test_optimizer.py",
    "tox.ini",
}
ADDED = {".github/workflows/optimizer.yml", "tests/test_optimizer.py", "tox.ini"}
SPEC = "src/demo/optim.py:Demo"


@pytest.fixture
def init(capsys, monkeypatch, tmp_path):
    """Run the command in an empty folder; return its exit status, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        status = main(["init", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def contents(folder):
    """Every file below `folder`, and every empty folder, with its bytes."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file() or not any(path.iterdir())]
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}


def make_project(folder, **others):
    """An existing project, with an optimizer of its own."""
    texts = {"pyproject.toml": '[project]\nname = "demo"\n', "src/demo/optim.py": "class Demo: pass\n", **others}
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("framework", frameworks.STARTS)
def test_a_new_project_is_complete(init, tmp_path, framework):
    status, out, err = init("decay-demo", "--framework", framework)
    assert (status, err) == (0, "")
    assert contents("decay-demo").keys() == WRITTEN
    assert all(name.rpartition("/")[2] in out for name in WRITTEN)
    start = frameworks.STARTS[framework]
    assert f"optimizer for {start.title} (as asked)" in out
    assert out.endswith("\nNext, in decay-demo:\n\n  pytest\n  optconform check\n")
    settings = tomllib.loads((tmp_path / "decay-demo/pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["name"] == "decay-demo"
    assert settings["project"]["dependencies"] == list(start.dependencies)
    (target,) = settings["tool"]["optconform"]["targets"]
    assert target == {"target": f"src/decay_demo/optimizer.py:{start.attribute}", "expect": EXPECTATION}
    for text in map(bytes.decode, contents("decay-demo").values()):
        assert "$" not in text
        assert text.endswith("\n")
        assert "\r" not in text


@pytest.mark.parametrize("framework", frameworks.STARTS)
def test_what_is_written_in_python_compiles_and_fits_the_usual_width(init, tmp_path, framework):
    init("--name", "decay-demo", "--framework", framework)
    for path in tmp_path.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        compile(text, path, "exec")
        assert max(map(len, text.splitlines())) <= 88, path


def test_what_it_expects_can_be_expected():
    assert str(parse_expectation(EXPECTATION)) == EXPECTATION


def test_dependencies_are_those_of_the_package_s_own_extras():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for start in frameworks.STARTS.values():
        extra = FRAMEWORKS[start.framework].extra
        given = project["optional-dependencies"][extra] if extra else project["dependencies"]
        ranges = {each.name: str(each.specifier) for each in map(Requirement, given)}
        assert {each.name: ranges[each.name] for each in map(Requirement, start.dependencies)} == {
            each.name: str(each.specifier) for each in map(Requirement, start.dependencies)
        }
        assert {each.name for each in map(Requirement, start.dependencies)} == set(FRAMEWORKS[start.framework].imports)


@pytest.mark.parametrize(
    ("installed", "chosen", "why"),
    [
        ({"torch", "jax", "tensorflow"}, "torch", "the first of torch, jax, tensorflow, numpy that is installed"),
        ({"tensorflow", "jax"}, "jax", "the first of"),
        ({"tensorflow"}, "tensorflow", "the first of"),
        ((), "numpy", "none of torch, jax, tensorflow is installed"),
    ],
)
def test_the_framework_is_the_first_that_is_installed(monkeypatch, installed, chosen, why):
    monkeypatch.setattr(frameworks, "missing_imports", lambda row: () if row.name in installed else row.imports)
    start, said = frameworks.choose_start(None)
    assert start.framework == chosen
    assert said.startswith(why)
    assert frameworks.choose_start("numpy")[0].framework == "numpy"


def test_the_current_folder_gives_the_name(init, tmp_path, monkeypatch):
    folder = tmp_path / "Decay  Demo"
    folder.mkdir()
    monkeypatch.chdir(folder)
    status, out, _ = init("--framework", "numpy")
    assert status == 0
    assert contents(folder).keys() == WRITTEN
    assert out.startswith("A new project, decay-demo, ")
    assert "\nNext:\n" in out


def test_files_that_do_not_matter_are_kept(init, tmp_path):
    for name in ("README.md", ".gitignore", "LICENSE", ".git/HEAD"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"mine\xff\r\n")
    before = contents(tmp_path)
    status, out, _ = init("--name", "decay-demo", "--framework", "numpy")
    assert status == 0
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert after.keys() == WRITTEN | before.keys()
    assert out.count("kept, it was there") == 2
    assert "To be added" not in out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("class", "'class' the name of the package, which Python cannot import: it is a keyword"),
        ("1abc", "'1abc' the name of the package, which Python cannot import: it starts with a digit"),
        ("größe", "'größe' cannot be the name of a project: expected ASCII letters"),
        ("-x", "'-x' cannot be"),
        ("a b", "'a b' cannot be"),
        ("a/b", "'a/b' cannot be"),
        ("x\n", r"'x\n' cannot be"),
        ("", "'' cannot be"),
        ("torch", "'torch' the name of the package, which would hide the one"),
        ("OptConform", "'optconform' the name of the package, which would hide"),
        ("Random", "'random' the name of the package, which would hide"),
        ("ml-dtypes", "'ml_dtypes' the name of the package, which would hide"),
        ("tests", "'tests' the name of the package, which would hide"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(init, tmp_path, name, message):
    status, out, err = init("--framework", "numpy", f"--name={name}")
    assert (status, out) == (2, "")
    assert message in " ".join(err.split())
    assert contents(tmp_path) == {}


def test_a_folder_whose_name_cannot_be_used_is_refused(init):
    status, _, err = init("größe", "--framework", "numpy")
    assert status == 2
    assert "the folder's name 'größe' cannot be the name of a project" in err
    assert "--name my-optimizer" in err
    assert not Path("größe").exists()
    assert init("größe", "--framework", "numpy", "--name", "size")[0] == 0


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ("tox.ini", "tox.ini is there already"),
        ("tests", "tests is not a folder"),
        (".github", ".github is not a folder"),
        ("README.md/x", "README.md is a folder"),
        ("src/decay_demo/optimizer.py", "src/decay_demo/optimizer.py is there already"),
    ],
)
def test_a_file_in_the_way_is_named_and_nothing_is_written(init, tmp_path, there, message):
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).write_bytes(b"mine")
    status, out, err = init("--name", "decay-demo", "--framework", "numpy")
    assert (status, out) == (2, "")
    assert message in err
    assert contents(tmp_path) == {there: b"mine"}


def test_all_that_is_in_the_way_is_named_at_once(init, tmp_path):
    (tmp_path / "tox.ini").touch()
    (tmp_path / "tests").touch()
    assert "tests is not a folder; tox.ini is there already" in init("--name", "decay-demo")[2]


def test_a_link_that_leads_nowhere_is_not_written_through(init, tmp_path):
    (tmp_path / "tox.ini").symlink_to(tmp_path / "elsewhere.ini")
    status, _, err = init("--name", "decay-demo", "--framework", "numpy")
    assert status == 2
    assert "tox.ini is there already" in err
    assert not (tmp_path / "elsewhere.ini").exists()


def test_a_folder_that_is_a_file_is_refused(init, tmp_path):
    (tmp_path / "demo").touch()
    for folder in ("demo", "demo/inside"):
        status, _, err = init(folder, "--framework", "numpy")
        assert status == 2
        assert "demo is a file; expected a folder, or a name that is free" in " ".join(err.split())
    assert contents(tmp_path) == {"demo": b""}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_half_way_leaves_nothing(init, tmp_path, monkeypatch, error):
    """The fourth file fails, when folders and files have been made."""
    (tmp_path / "tests").mkdir()
    opened, really_open = [], Path.open

    def failing(path, *arguments, **named):
        opened.append(path)
        if path.name == "test_optimizer.py":
            raise error
        return really_open(path, *arguments, **named)

    planned = [files.PlannedFile(name, "", "text\n") for name in ("a/b/c", "a/d", "e", "tests/test_optimizer.py")]
    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(ScaffoldError if isinstance(error, OSError) else KeyboardInterrupt) as raised:
        files.write_all(tmp_path, planned)
    monkeypatch.undo()
    assert len(opened) == 4
    assert contents(tmp_path) == {"tests": None}
    if isinstance(error, OSError):
        assert "test_optimizer.py cannot be written (No space left on device); nothing was" in str(raised.value)


def test_a_file_that_appears_in_the_meantime_stays(tmp_path):
    (tmp_path / "b").write_text("mine")
    with pytest.raises(ScaffoldError, match=r"b cannot be written \(File exists\)"):
        files.write_all(tmp_path, [files.PlannedFile(name, "", "text\n") for name in ("a/x", "b")])
    assert contents(tmp_path) == {"b": b"mine"}


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no folder in which not even root may write")
def test_a_folder_that_cannot_be_written_to_is_named(init):
    status, _, err = init("/proc/self/demo", "--name", "decay-demo", "--framework", "numpy")
    assert status == 2
    assert "/proc/self/demo cannot be written (No such file or directory); nothing was" in " ".join(err.split())


def test_an_existing_project_needs_targets(init, tmp_path):
    make_project(tmp_path)
    before = contents(tmp_path)
    status, _, err = init()
    assert status == 2
    assert "holds a project already (pyproject.toml)" in err
    assert "--target src/package/module.py:MyAdamW" in err
    assert contents(tmp_path) == before


def test_an_existing_project_gets_three_files_and_keeps_its_own(init, tmp_path):
    make_project(tmp_path)
    before = contents(tmp_path)
    status, out, err = init("--target", SPEC, "--target", "optax:adamw", "--target", SPEC)
    assert (status, err) == (0, "")
    after = contents(tmp_path)
    assert after.keys() == before.keys() | ADDED
    assert {name: after[name] for name in before} == before
    test = after["tests/test_optimizer.py"].decode()
    compile(test, "test_optimizer.py", "exec")
    assert test.count(f'        "{SPEC}",\n        "optax:adamw",\n') == 1
    _, _, printed = out.partition("To be added to pyproject.toml:\n")
    printed, _, rest = printed.partition("\nNext:\n")
    rows = tomllib.loads(printed)["tool"]["optconform"]["targets"]
    assert rows == [{"target": SPEC, "expect": "decoupled"}, {"target": "optax:adamw", "expect": "decoupled"}]
    assert f"  optconform check {SPEC} optax:adamw" in rest


def test_the_framework_is_written_down_where_it_is_named(init, tmp_path):
    make_project(tmp_path)
    _, out, _ = init("--target", SPEC, "--framework", "jax")
    assert f'("{SPEC}", {{"framework": "jax"}}),' in (tmp_path / "tests/test_optimizer.py").read_text()
    assert 'framework = "jax"' in out
    assert f"optconform check {SPEC} --framework jax" in out


def test_a_target_named_twice_is_written_once(init, tmp_path):
    make_project(tmp_path)
    _, out, _ = init("--target", SPEC, "--target", SPEC)
    assert f"  optconform check {SPEC}\n" in out
    assert (tmp_path / "tests/test_optimizer.py").read_text().count(SPEC) == 1


@pytest.mark.parametrize(
    ("name", "text", "heading"),
    [
        ("tox.ini", "[testenv]\n", "[testenv:optimizer]"),
        ("setup.cfg", "[metadata]\n\n[tox:tox]\n", "[testenv:optimizer]"),
        ("tox.toml", "env_list = []\n", "[env.optimizer]"),
        ("pyproject.toml", "[tool.tox]\nenv_list = []\n", "[tool.tox.env.optimizer]"),
        ("pyproject.toml", "[tool.tox]\nlegacy_tox_ini = '''\n[testenv]\n'''\n", "[testenv:optimizer]"),
    ],
)
def test_an_environment_is_printed_where_tox_has_a_file(init, tmp_path, name, text, heading):
    """A tox.ini would come before the others, and hide their environments."""
    make_project(tmp_path, **{name: text})
    before = contents(tmp_path)
    status, out, _ = init("--target", SPEC)
    assert status == 0
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == ADDED - {"tox.ini"}
    assert f"To be added to {name}:\n" in out
    assert f"\n{heading}\n" in out


def test_the_second_time_nothing_is_left_to_do(init, tmp_path):
    make_project(tmp_path)
    _, out, _ = init("--target", SPEC)
    settings = out.partition("To be added to pyproject.toml:\n")[2].partition("\nNext:\n")[0]
    with (tmp_path / "pyproject.toml").open("a") as file:
        file.write(settings)
    before = contents(tmp_path)
    status, out, _ = init("--target", SPEC)
    assert status == 0
    assert contents(tmp_path) == before
    assert out.count("kept, it was there") == len(ADDED)
    assert "To be added" not in out


def test_what_stands_in_other_files_is_printed_whole(init, tmp_path):
    make_project(tmp_path, **{"tests/test_optimizer.py": "mine\n", ".github/workflows/optimizer.yml": "mine: {}\n"})
    _, out, _ = init("--target", SPEC)
    assert "To be added to tests/test_optimizer.py:\n" in out
    assert "@optconform.parametrize_with_checks(" in out
    assert "To be added to .github/workflows/optimizer.yml:\n" in out
    assert "run: tox run -e optimizer" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "Demo"], "'Demo' is not a target; expected package.module:attribute"),
        (["--target", "src/demo/optim.txt:Demo"], "is not a .py file"),
        (["--target", "a-b:Demo"], "'a-b' in 'a-b:Demo' is not a module name"),
        (["--target", "src/demo/other.py:Demo"], "src/demo/other.py of --target 'src/demo/other.py:Demo' is not there"),
        (["--target", SPEC, "--name", "x"], "--name is for a new project"),
        (["empty", "--target", SPEC], "empty holds no project: there is no pyproject.toml, setup.py or setup.cfg"),
        (["--framework", "keras"], "'keras' is not one of"),
    ],
)
def test_targets_that_cannot_be_meant_are_refused(init, tmp_path, arguments, message):
    make_project(tmp_path)
    (tmp_path / "empty").mkdir()
    before = contents(tmp_path)
    status, out, err = init(*arguments)
    assert (status, out) == (2, "")
    assert message in " ".join(err.split())
    assert contents(tmp_path) == before


def test_a_project_without_pyproject_is_told_what_to_put_there(init, tmp_path):
    make_project(tmp_path)
    (tmp_path / "pyproject.toml").rename(tmp_path / "setup.py")
    status, out, _ = init("--target", SPEC)
    assert status == 0
    assert "(it has a setup.py)" in out
    assert "To be added to pyproject.toml:\n" in out
    assert not (tmp_path / "pyproject.toml").exists()


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_every_terminal_can_show_it(tmp_path, encoding):
    words = [sys.executable, "-m", "optconform", "init", "decay-demo", "--framework", "numpy"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=True, env=environment)
    assert done.stderr == b""
    assert ("└──" if encoding == "utf-8" else "`--") in done.stdout.decode(encoding)


@pytest.mark.parametrize("text", [b"[project\n", b"name = \xff\n"])
def test_a_build_file_that_cannot_be_read_is_named(init, tmp_path, text):
    make_project(tmp_path)
    (tmp_path / "pyproject.toml").write_bytes(text)
    status, _, err = init("--target", SPEC)
    assert status == 2
    assert "pyproject.toml" in err
    assert not (tmp_path / "tests").exists()


def test_settings_of_another_shape_are_left_to_whoever_reads_them(init, tmp_path):
    make_project(tmp_path, **{"pyproject.toml": "tool.optconform = 3\ntool.tox = 4\n"})
    assert init("--target", SPEC)[0] == 0


def test_quotation_marks_in_a_path_are_escaped(init, tmp_path):
    place = 'it"s/here.py'
    make_project(tmp_path, **{place: "class Demo: pass\n"})
    status, out, _ = init("--target", f"{place}:Demo")
    assert status == 0
    settings = out.partition("To be added to pyproject.toml:\n")[2].partition("\nNext:\n")[0]
    assert tomllib.loads(settings)["tool"]["optconform"]["targets"][0]["target"] == f"{place}:Demo"
    test = (tmp_path / "tests/test_optimizer.py").read_text()
    assert json.dumps(f"{place}:Demo") in test
    compile(test, "test_optimizer.py", "exec")
