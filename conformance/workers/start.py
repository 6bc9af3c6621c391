"""First code of a worker process, run by path: it finds this package without what lies beside it.

With another interpreter, the folder that holds this package may hold NumPy and frameworks that were built for the
first one; it must not go on the path. The syntax is that of Python 3.6, so that an old one can say what is wrong.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGE = "optconform"
OLDEST = (3, 11)
_FOLDER = Path(__file__).resolve().parents[2]


def main() -> None:
    """Serve the command at the other end of standard input and output."""
    if sys.version_info < OLDEST:
        sys.exit(f"it is Python {sys.version.split()[0]}, expected {OLDEST[0]}.{OLDEST[1]} or newer")
    if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
        del sys.path[0]
    spec = importlib.util.spec_from_file_location(
        PACKAGE, str(_FOLDER / "__init__.py"), submodule_search_locations=[str(_FOLDER)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)
    try:
        serve = importlib.import_module(PACKAGE + ".conformance.workers.serving").serve
    except ImportError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    serve()


if __name__ == "__main__":
    main()
