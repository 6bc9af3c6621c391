"""A link makes a checkout importable as `optconform` without installing it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = CHECKOUT / "gpu_ci" / "link_checkout.py"


def run_script(*arguments):
    # -I -S: no installed package and no PYTHONPATH can help the script.
    return subprocess.run([sys.executable, "-I", "-S", SCRIPT, *arguments], capture_output=True, text=True, check=False)


def file_of_optconform(line, pythonpath=""):
    """Let a shell take the printed line, and ask Python where it then finds `optconform`."""
    code = "import optconform, os; print(optconform.__file__, os.environ['PYTHONPATH'])"
    ask = f'{line}\n"{sys.executable}" -S -c "{code}"'
    environment = {**os.environ, "PYTHONPATH": pythonpath}
    done = subprocess.run(["sh", "-c", ask], cwd="/", capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split()


@pytest.mark.skipif(os.name != "posix", reason="the printed line is for a POSIX shell")
@pytest.mark.parametrize("earlier", ["", "/elsewhere"])
def test_the_printed_line_makes_the_checkout_importable(tmp_path, earlier):
    done = run_script(tmp_path / "new" / "folder")
    assert done.returncode == 0, done.stderr
    file, pythonpath = file_of_optconform(done.stdout, earlier)
    assert Path(file).resolve() == CHECKOUT / "__init__.py"
    assert pythonpath == f"{tmp_path}/new/folder" + (f":{earlier}" if earlier else "")


def test_without_a_folder_a_new_private_one_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert run_script().returncode == 0
    assert run_script().returncode == 0
    links = list(tmp_path.glob("*/optconform"))
    assert len(links) == 2
    assert all(link.resolve() == CHECKOUT for link in links)
    assert all(link.parent.stat().st_mode & 0o077 == 0 for link in links)


def test_a_link_that_is_right_already_is_left_alone(tmp_path):
    first = run_script(tmp_path)
    again = run_script(tmp_path)
    assert (again.returncode, again.stdout) == (0, first.stdout)


@pytest.mark.parametrize("occupant", ["file", "folder", "link", "dangling link"])
def test_something_else_of_that_name_is_refused_and_kept(tmp_path, occupant):
    link = tmp_path / "optconform"
    match occupant:
        case "file":
            link.write_text("mine")
        case "folder":
            link.mkdir()
        case "link":
            link.symlink_to(Path("/"))
        case "dangling link":
            link.symlink_to(tmp_path / "nowhere")
    before = link.lstat()
    done = run_script(tmp_path)
    assert done.returncode == 2
    assert f"{link} exists and is not a link to {CHECKOUT}" in done.stderr
    assert not done.stdout
    after = link.lstat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)


def test_a_folder_that_cannot_be_made_is_exit_status_two(tmp_path):
    (tmp_path / "file").touch()
    done = run_script(tmp_path / "file" / "folder")
    assert done.returncode == 2
    assert done.stderr.startswith("link_checkout: ")
    assert "Traceback" not in done.stderr


def test_a_folder_with_blanks_and_quotes_is_quoted_for_the_shell(tmp_path):
    folder = tmp_path / "it's $HOME here"
    done = run_script(folder)
    shell = subprocess.run(
        ["sh", "-c", f'{done.stdout}\nprintf %s "$PYTHONPATH"'],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert shell.stdout == str(folder)
