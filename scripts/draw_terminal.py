"""Draw what commands print in a terminal, as SVG: `python scripts/draw_terminal.py [FOLDER]`, docs/figures by default.

The commands are run, as a reader would run them, in a folder with one small optimizer; a test runs them again and
compares the words. The pictures hold no font and fetch none: every run of characters has its width.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
WIDTH = 88
"""Columns: at 800 pixels, the width of a page, a letter is nine pixels wide."""

OPTIMIZER = '''
"""Adam by hand. weight_decay is meant to be decoupled, and is not."""
import numpy as np


class MyAdamW:
    def __init__(self, weight_decay=0.01, beta1=0.9, beta2=0.999, eps=1e-8):
        self.weight_decay, self.beta1, self.beta2, self.eps = weight_decay, beta1, beta2, eps
        self.t, self.m, self.v = {}, {}, {}

    def step(self, params, grads, lr):
        return {name: self.moved(name, theta, grads[name], lr) for name, theta in params.items()}

    def moved(self, name, theta, grad, lr):
        if grad is None:
            return theta
        t = self.t[name] = self.t.get(name, 0) + 1
        grad = grad + self.weight_decay * theta
        self.m[name] = self.beta1 * self.m.get(name, 0.0) + (1 - self.beta1) * grad
        self.v[name] = self.beta2 * self.v.get(name, 0.0) + (1 - self.beta2) * grad * grad
        m_hat = self.m[name] / (1 - self.beta1**t)
        v_hat = self.v[name] / (1 - self.beta2**t)
        return theta - lr * m_hat / (np.sqrt(v_hat) + self.eps)
'''
"""`my_optimizer.py`, which is audited."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One picture: its file, the command, its exit status, and what it shows in a sentence."""

    name: str
    command: str
    status: int
    description: str


FIGURES_DRAWN = (
    Figure(
        "terminal-check.svg",
        "optconform check --framework numpy",
        0,
        "A table with a row for each of two NumPy optimizers: verdict decoupled, law lr*wd, as expected. Beneath it, "
        "what was checked and what was not.",
    ),
    Figure(
        "terminal-audit.svg",
        "optconform audit my_optimizer.py:MyAdamW",
        1,
        "The audit of an optimizer whose weight decay is L2 although decoupled decay is expected: facts, checks that "
        "failed, the finding OC101 with what to do, and the command that shows it again.",
    ),
    Figure(
        "terminal-explain.svg",
        "optconform explain OC101",
        0,
        "The rule OC101, coupled-decay, in full: when it fires, why it matters, an example, and what to do.",
    ),
)

THEME = TerminalTheme(
    (251, 250, 247),
    (12, 14, 18),
    [
        (12, 14, 18),
        (176, 32, 32),
        (22, 110, 50),
        (133, 85, 0),
        (9, 80, 170),
        (130, 50, 140),
        (5, 105, 115),
        (90, 96, 104),
    ],
)
"""Dark letters on a light ground of the picture's own, each at 4.5 to 1 at least: legible on pages of either theme."""

CODE_FORMAT = """<svg viewBox="0 0 {width} {height}" role="img" aria-labelledby="{unique_id}-title {unique_id}-desc"
 xmlns="http://www.w3.org/2000/svg">
<title id="{unique_id}-title">@TITLE@</title>
<desc id="{unique_id}-desc">@DESCRIPTION@</desc>
<style>
.{unique_id}-matrix {{
font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
font-size: {char_height}px;
line-height: {line_height}px;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""What rich fills in: its own form fetches a font from the network, and says nothing to a screen reader."""


def printed(figure: Figure, folder: Path, *, coloured: bool) -> str:
    """Return what the command prints in a terminal of `WIDTH` columns, run in `folder`.

    Raises `RuntimeError` where it ends with another status than it should.
    """
    (folder / "my_optimizer.py").write_text(OPTIMIZER.lstrip(), encoding="utf-8")
    unset = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"COLUMNS": str(WIDTH), "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    environment |= {"FORCE_COLOR": "1"} if coloured else {}
    words = [sys.executable, "-m", *figure.command.split()]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=False, encoding="utf-8")
    if done.returncode != figure.status:
        raise RuntimeError(f"{figure.command} ended with {done.returncode}, expected {figure.status}: {done.stderr}")
    return done.stdout


def svg_of(figure: Figure, output: str) -> str:
    """Return the picture of a terminal in which the command has printed `output`, its colours as ANSI escapes."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True, legacy_windows=False)
        console.print(Text.assemble(("$ ", "dim"), (figure.command, "bold")))
        console.print()
        console.print(Text.from_ansi(output.rstrip("\n")))
        console.print()  # below the last line rich cuts off underscores
        drawn = console.export_svg(
            title="", theme=THEME, code_format=CODE_FORMAT, unique_id=Path(figure.name).stem, font_aspect_ratio=0.6
        )
    drawn = drawn.replace('stroke="rgba(255,255,255,0.35)"', 'stroke="#8a9099"')
    named = drawn.replace("@TITLE@", escape(figure.command)).replace("@DESCRIPTION@", escape(figure.description))
    return "\n".join(line.strip() for line in named.splitlines() if line.strip()) + "\n"


def main(arguments: list[str]) -> None:
    """Draw every figure into the folder named."""
    folder = Path(arguments[0]) if arguments else FIGURES
    with tempfile.TemporaryDirectory() as place:
        for figure in FIGURES_DRAWN:
            svg = svg_of(figure, printed(figure, Path(place), coloured=True))
            (folder / figure.name).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
