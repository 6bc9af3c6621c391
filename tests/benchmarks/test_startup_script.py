"""benchmarks/startup.py runs and prints one JSON document; how long things take is not asserted."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "startup.py"


def test_one_document(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--repeats", "1"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    document = json.loads(done.stdout)
    assert set(document["seconds"]) == {"bare_interpreter", "import_numpy", "import_optconform", "help"}
    assert all(value > 0 for value in document["seconds"].values())
