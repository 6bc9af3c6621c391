"""Every command that the README and the documentation show is run, and ends as they say."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from optconform.__main__ import main

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("run_pages", ROOT / "scripts/run_pages.py")
run_pages = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = run_pages  # dataclasses look their own module up
SPEC.loader.exec_module(run_pages)
PAGES = (
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in run_pages.PAGES),
)
"""Those whose commands stand for themselves; test_pages.py runs the others."""
RUN_ELSEWHERE = {
    "python -m pip install": "the environments of tox install the package and its tools",
    "tox run": "tox runs this test",
    'eval "$(python gpu_ci/link_checkout.py)"': "tests/gpu_ci runs the script",
    "python -m optconform": "tests/packaging runs the module",
    "pytest test_optimizers.py": "tests/pytest_plugin runs the page that shows it",
    "pytest tests/test_optimizer.py": "tests/conformance/test_init_projects.py runs it in a project that init has made",
    "cd my-optimizer": "the same test",
    "pre-commit": "it runs what the lint and types environments run, on files about to be committed",
    "python scripts/record_traces": "tests/traces runs the recorders",
    "python benchmarks/": "tests/benchmarks runs the scripts on small sizes",
    "python examples/record_": "tests/recording runs the examples that record",
    "python examples/learning_rate_by_weight_decay.py": "test_paper_figure.py runs it on a small grid",
    "python examples/heat_maps.py": "test_paper_figure.py draws the committed figures",
}
"""Start of a command -> where it is run instead."""
CHECKED_ELSEWHERE = {
    "optconform check": "test_readme_output.py runs it and looks at what it prints",
    "optconform init --target src/my_package/optim.py:MyAdamW": "test_init_page.py runs it in a project",
    "optconform doctor --self-test": "tests/conformance runs every row of the collection, and the command on a few",
}
"""Commands that take minutes, or need what a page does not make -> where they are run instead."""
KEPT = ("my-trace", "my-gate", "result.json")
"""What one command leaves for the next."""
FRAMEWORK_OF = {"torch": "torch", "keras": "tensorflow", "optax": "jax"}


class Command(NamedTuple):
    page: str
    line: str
    status: int
    comment: str


def commands() -> list[Command]:
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                command, _, comment = line.partition("  #")
                status = re.search(r"exit (\d)", comment)
                if command.strip():
                    found.append(Command(page.name, command.strip(), int(status[1]) if status else 0, comment))
    return found


def own_commands() -> list[object]:
    """Each command once; those that write and read a thing of `KEPT` are one item, in the order in which they stand."""
    items = []
    shown: dict[tuple[str, int], Command] = {}
    for command in commands():
        if command.line.startswith("optconform "):
            shown.setdefault((command.line, command.status), command)
    alone = [[command] for command in shown.values() if not any(name in command.line for name in KEPT)]
    together = [[command for command in shown.values() if name in command.line] for name in KEPT]
    for number, group in enumerate([*alone, *together]):
        line = group[0].line
        if line in CHECKED_ELSEWHERE:
            continue
        marks = [getattr(pytest.mark, FRAMEWORK_OF[name]) for name in FRAMEWORK_OF if name in line]
        items.append(pytest.param(group, id=f"{number}-{line}", marks=marks))
    return items


@pytest.mark.parametrize("commands_of_item", own_commands())
def test_documented_command(commands_of_item, tmp_path, monkeypatch, capsys):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    for command in commands_of_item:
        for name, framework in FRAMEWORK_OF.items():
            if name in command.line and importlib.util.find_spec(name) is None:
                pytest.skip(f"{framework} is not installed here; the environment `all` runs this command")
        if "--format html" in command.line:
            pytest.importorskip("jinja2")
            pytest.importorskip("plotly")
        status = main(shlex.split(command.line)[1:])
        assert status == command.status, capsys.readouterr().err


def test_other_commands_are_run_elsewhere():
    others = [command for command in commands() if not command.line.startswith("optconform ")]
    assert others
    for command in others:
        for part in command.line.split(" && "):
            assert any(part.startswith(start) for start in RUN_ELSEWHERE), f"{command.page}: nobody runs {part!r}"


NOT_AS_SHOWN = ("python benchmarks/", "python examples/learning_rate_by_weight_decay.py", "--device cuda")
"""Parts of commands that no test runs as they are shown: they take minutes, or a GPU."""
QUICK = ("--help", "--read ", "--seed 7", "python benchmarks/other_suites.py")
"""Parts of those among them that take seconds, or vary another one in the same block."""


def test_what_is_not_run_as_shown_says_so_and_bears_a_date():
    shown = [command for command in commands() if any(part in command.line for part in NOT_AS_SHOWN)]
    found = [command for command in shown if not any(part in command.line for part in QUICK)]
    assert {each.page for each in found} >= {"gate.md", "power.md", "soundness.md", "survey.md", "paper.md"}
    for command in found:
        assert re.match(r" *(long|GPU)\b", command.comment), f"{command.page}: {command.line!r} is marked neither way"
        page = (ROOT / "docs" / command.page).read_text(encoding="utf-8")
        assert re.search(r"\b20\d\d-\d\d-\d\d\b", page), f"{command.page}: no date of what {command.line!r} gave"
