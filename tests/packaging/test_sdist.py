"""The source distribution is the whole checkout, and gives the same wheel."""

import importlib.util
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = CHECKOUT / "scripts" / "build_distributions.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sources(script, tmp_path_factory):
    return script.export(tmp_path_factory.mktemp("export") / "sources")


@pytest.fixture(scope="module")
def sdist(sources, script, tmp_path_factory):
    """Built by the backend, as `python -m build` does, from a copy: it leaves an egg-info in the sources."""
    folder = tmp_path_factory.mktemp("sdist")
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    copy = shutil.copytree(sources, folder / "copy")
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True, capture_output=True)
    return script.only(folder, "*.tar.gz")


def judged(script, sdist, sources):
    found, expected = script.files_of_sdist(sdist), script.files_of_folder(sources)
    return script.differences(script.sources_in(found), script.sources_in(expected), "sdist", "remedy")


def test_it_holds_every_file_of_the_checkout(script, sdist, sources):
    assert judged(script, sdist, sources) == []


@pytest.mark.parametrize(
    "name",
    [
        ".ci/run",
        ".gitignore",
        "CITATION.cff",
        "SECURITY.md",
        "conformance/traces/shipped/digits_mlp/index.json",
        "constraints.txt",
        "docs/conf.py",
        "examples/torch_optimizer.py",
        "gpu_ci/baselines/cpu.json",
        "scripts/record_traces/record.py",
        "tests/packaging/test_sdist.py",
        "tox.ini",
    ],
)
def test_what_tests_and_documentation_need_is_there(script, sdist, name):
    """By name, since a pattern of .gitignore that matches too much would leave a file out of both."""
    assert name in script.files_of_sdist(sdist)


def test_what_runs_stays_executable(sdist):
    with tarfile.open(sdist) as archive:
        (run,) = (member for member in archive.getmembers() if member.name.endswith("/.ci/run"))
    assert run.mode & 0o111


def test_nothing_that_git_ignores_is_copied(script, tmp_path, monkeypatch):
    made_up = tmp_path / "checkout"
    for name in ("kept.py", "docs/a.md", "docs/_build/a.html", "build/lib/old.py", ".git/HEAD", "a/x.egg-info/b"):
        (made_up / name).parent.mkdir(parents=True, exist_ok=True)
        (made_up / name).write_text(name)
    (made_up / ".gitignore").write_text((CHECKOUT / ".gitignore").read_text(encoding="utf-8"))
    monkeypatch.setattr(script, "CHECKOUT", made_up)
    found = script.files_of_folder(script.export(tmp_path / "exported"))
    assert found.keys() == {"kept.py", "docs/a.md", ".gitignore"}


def test_a_file_that_the_sdist_lacks_has_too_many_or_changes_is_named(script):
    expected = {"same": b"1", "lost": b"2", "other": b"3"}
    found = {"same": b"1", "other": b"4", "stray": b"5"}
    assert script.differences(found, expected, "sdist", "Mend it.") == [
        "sdist: lost is missing. Mend it.",
        "sdist: other is not the checkout's. Mend it.",
        "sdist: stray is not in the checkout. Mend it.",
    ]


def test_a_folder_outside_the_manifest_is_noticed(script, sdist, sources, tmp_path):
    changed = shutil.copytree(sources, tmp_path / "changed")
    (changed / "plans").mkdir()
    (changed / "plans" / "next.txt").write_text("nothing yet")
    assert judged(script, sdist, changed) == ["sdist: plans/next.txt is missing. remedy"]


def test_a_folder_with_something_in_it_is_not_written_to(script, tmp_path, capsys):
    (tmp_path / "older.whl").touch()
    with pytest.raises(SystemExit) as left:
        script.main([str(tmp_path)])
    assert left.value.code == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["older.whl"]
