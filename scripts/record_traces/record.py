"""Record one of the traces that ship with the package: `python scripts/record_traces/record.py NAME --output DIR`."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from optconform.conformance.traces import write_trace

SCRIPTS = {
    "digits_mlp": "torch_digits_mlp",
    "digits_cnn": "keras_digits_cnn",
    "char_transformer": "jax_char_transformer",
}
"""Name of the trace -> the module beside this file whose `record` makes it."""


def main() -> None:
    """Record the trace that the command line names and write it, replacing an earlier one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SCRIPTS)
    parser.add_argument("--output", type=Path, required=True, help="directory of the trace; a trace there is replaced")
    options = parser.parse_args()
    trace = write_trace(import_module(SCRIPTS[options.name]).record(), options.output, overwrite=True)
    size = sum(file.stat().st_size for file in options.output.iterdir())
    print(f"{options.output}: {trace.n_steps} steps, {len(trace.parameters)} parameters, {size} bytes")


if __name__ == "__main__":
    main()
