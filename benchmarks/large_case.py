"""What it costs to judge AdamW over very many elements: the bare steps, and the same steps judged in three ways.

Gradients are made on the device by a counter-based generator. Prints one JSON document: seconds, ratios to the bare
steps, and what was found. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from typing import Any

from optconform.adapters.execution import environment_of, load_runtime, runtime_named
from optconform.adapters.large_steps import LARGE_FRAMEWORKS
from optconform.adapters.processor import describe_processor
from optconform.gpu_ci import large
from optconform.gpu_ci.places import normal_device

SCHEMA = "optconform/benchmark/large-case/1"
CPU_ELEMENTS, CPU_SAMPLE = 10**6, 10**4
"""On a CPU; the same hundredth is judged as on a GPU."""
PACKAGES = ("optconform", "numpy", "torch", "jax", "optax", "numba", "array-api-compat")


def versions() -> dict[str, str]:
    """Version of each package that computes, where it is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def told(framework: str, device: str) -> dict[str, Any]:
    """What the framework says of the device and of the settings that change bits."""
    runtime = load_runtime(framework)
    return {"place": runtime.describe(normal_device(device)), "flags": runtime.flags()}


def measure(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Run each framework that is asked for."""
    on_cpu = asked.device.startswith("cpu")
    elements = asked.elements or (CPU_ELEMENTS if on_cpu else large.ELEMENTS)
    sample = asked.sample or (CPU_SAMPLE if on_cpu else large.SAMPLE)
    return [
        told(framework, asked.device)
        | large.run_large(
            framework,
            asked.device,
            elements,
            asked.steps,
            asked.seed,
            sample=sample,
            dtype=asked.dtype,
            rounds=asked.rounds,
            staged=asked.staged,
            ways=tuple(asked.ways),
        ).to_json()
        for framework in asked.framework
    ]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    installed = [name for name in LARGE_FRAMEWORKS if importlib.util.find_spec(name)]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--framework", nargs="+", default=installed, choices=LARGE_FRAMEWORKS)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, gpu:1, ...")
    parser.add_argument("--elements", type=int, metavar="N", help="default 1e8, 1e6 on a CPU")
    parser.add_argument("--sample", type=int, metavar="N", help="default 1e6, 1e4 on a CPU")
    parser.add_argument("--steps", type=int, default=large.STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--rounds", type=int, default=3, help="rounds through all ways (default 3)")
    parser.add_argument("--ways", nargs="+", default=list(large.WAYS), choices=large.WAYS, metavar="WAY")
    parser.add_argument("--staged", action="store_true", help="gradients from the host, through pinned buffers (torch)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    for framework in asked.framework:  # two of them share a GPU here, and none may take all its memory
        os.environ.update(environment_of(runtime_named(framework)))
    cases = measure(asked)
    document = {
        "schema": SCHEMA,
        "machine": {"processor": describe_processor(), "versions": versions()},
        "cases": cases,
    }
    json.dump(document, sys.stdout, indent=2)
    print()
    return 0 if cases and all(case["conforms"] for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
