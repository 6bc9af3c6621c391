"""Draw the heat maps that `learning_rate_by_weight_decay.py` measured: one SVG figure from its JSON document.

python examples/heat_maps.py heat-maps.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

CIRCLED = 10
"""Best settings that are marked, as in the paper's figure."""
COLUMNS = 3
STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and selected
    "svg.hashsalt": "optconform",  # the same numbers give the same file
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
}


def description(document: Mapping[str, Any]) -> str:
    """The figure in words, one sentence per panel."""
    panels = []
    for family in document["families"]:
        correlation = family["alignment"][0]["correlation"]["value"]
        panels.append(f"{family['title']}: correlation {correlation:+.2f}, best error {family['best_error_percent']}%.")
    return " ".join(["Test error over learning rate and weight decay, both in powers of two.", *panels])


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Write the figure: a panel per optimizer, light where the error is low, circles on the best settings."""
    test_images = document["settings"]["test_images"]
    families = document["families"]
    errors = [100 * np.mean(family["wrong"], axis=0) / test_images for family in families]
    low = min(error.min() for error in errors)
    rows = -(-len(families) // COLUMNS)
    with matplotlib.rc_context(STYLE):
        # A white ground of its own: labels stay readable on a dark page.
        figure = Figure(figsize=(10, 3.4 * rows), facecolor="white", layout="constrained")
        axes = figure.subplots(rows, COLUMNS, squeeze=False)
        for axis in axes.flat[len(families) :]:
            axis.set_axis_off()
        for axis, family, error in zip(axes.flat, families, errors, strict=False):
            lrs, wds = family["log2_lr"], family["log2_wd"]
            # Cividis reads the same with every kind of colour vision; reversed, the basin is light.
            shades = axis.pcolormesh(wds, lrs, error, cmap="cividis_r", vmin=low, vmax=3 * low, shading="nearest")
            best = np.unravel_index(np.argsort(error, axis=None, kind="stable")[:CIRCLED], error.shape)
            axis.plot(np.take(wds, best[1]), np.take(lrs, best[0]), "o", mfc="none", mec="black", ms=6)
            correlation = family["alignment"][0]["correlation"]
            axis.set_title(f"{family['title']}\ncorrelation {correlation['value']:+.2f}", fontsize=9)
            axis.set_aspect("equal")  # a factor of two is as long on either axis: a diagonal looks like one
            axis.locator_params(integer=True)
            axis.set_xlabel("log2 weight decay")
            axis.set_ylabel("log2 learning rate")
        figure.colorbar(shades, ax=axes, label="test error, % (darkest: three times the best, and worse)", shrink=0.7)
        figure.savefig(path, format="svg", metadata={"Date": None})
    title = f'<title id="title">Learning rate by weight decay</title><desc id="desc">{description(document)}</desc>'
    before, tag, after = path.read_text(encoding="utf-8").partition("<svg ")
    attributes, end, body = after.partition(">")
    named = f'{before}{tag}role="img" aria-labelledby="title desc" {attributes}{end}\n {title}{body}'
    path.write_text("\n".join(line.rstrip() for line in named.splitlines()) + "\n", encoding="utf-8")


def main() -> int:
    """Draw the document named on the command line; the figure lies beside it."""
    for name in sys.argv[1:]:
        draw(json.loads(Path(name).read_text(encoding="utf-8")), Path(name).with_suffix(".svg"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
