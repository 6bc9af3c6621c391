"""Record one of the traces that ship with the package: `python scripts/record_traces/record.py NAME --output DIR`."""

from __future__ import annotations

import argparse
import tempfile
from importlib import import_module
from pathlib import Path

from optconform.conformance.traces import DirectoryTrace, open_trace, write_trace
from optconform.conformance.traces.cutting import Cut, cut_trace

BY_HAND = {
    "digits_mlp": "torch_digits_mlp",
    "digits_cnn": "keras_digits_cnn",
    "char_transformer": "jax_char_transformer",
    "separating": "search_separating",
}
"""Name of the trace -> the module beside this file whose `record` makes it."""
RECORDED = {
    "mixed_precision": "torch_mixed_precision",
    "word_embedding": "torch_word_embedding",
}
"""Name of the trace -> the module beside this file whose `record_into` has `optconform.record` write it."""


def write(name: str, output: Path) -> DirectoryTrace:
    """Record the trace `name` and write it to `output`, replacing an earlier one."""
    if name in BY_HAND:
        return write_trace(import_module(BY_HAND[name]).record(), output, overwrite=True)
    with tempfile.TemporaryDirectory() as folder:
        recorded = Path(folder) / name
        import_module(RECORDED[name]).record_into(recorded)
        # A recording is cut into shards by the clock; a copy has one for all steps.
        return cut_trace(open_trace(recorded), output, Cut(), overwrite=True)[0]


def main() -> None:
    """Record the trace that the command line names and write it, replacing an earlier one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=(*BY_HAND, *RECORDED))
    parser.add_argument("--output", type=Path, required=True, help="directory of the trace; a trace there is replaced")
    options = parser.parse_args()
    trace = write(options.name, options.output)
    size = sum(file.stat().st_size for file in options.output.iterdir())
    print(f"{options.output}: {trace.n_steps} steps, {len(trace.parameters)} parameters, {size} bytes")


if __name__ == "__main__":
    main()
