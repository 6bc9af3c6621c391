"""How long the command line takes to answer `--help`, and `import optconform` to return: one JSON document.

Whole processes, interleaved; medians in seconds, each beside that of a bare interpreter and of importing NumPy.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "bare_interpreter": ["-c", ""],
    "import_numpy": ["-c", "import numpy"],
    "import_optconform": ["-c", "import optconform"],
    "help": ["-m", "optconform", "--help"],
}
"""Name -> arguments of the interpreter."""
REQUIREMENT = 0.3
"""Seconds that `optconform --help` may take."""


def seconds(arguments: list[str]) -> float:
    """Return the wall-clock seconds of one run of the interpreter. Raises `CalledProcessError` where it fails."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="runs of each command; one more warms up")
    repeats = parser.parse_args().repeats
    for arguments in COMMANDS.values():
        seconds(arguments)
    rounds = [{name: seconds(arguments) for name, arguments in COMMANDS.items()} for _ in range(repeats)]
    medians = {name: statistics.median(each[name] for each in rounds) for name in COMMANDS}
    numpy = medians["import_numpy"]
    document = {
        "schema": "optconform/benchmark/startup/1",
        "machine": {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"},
        "repeats": repeats,
        "seconds": {name: round(value, 4) for name, value in medians.items()},
        "ratio_to_importing_numpy": {name: round(value / numpy, 3) for name, value in medians.items()},
        "requirement": {"help_at_most_seconds": REQUIREMENT, "met": medians["help"] <= REQUIREMENT},
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
