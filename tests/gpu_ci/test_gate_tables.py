"""What the gate holds as plain data is what runtimes, rules and renderers have."""

import json
from importlib import resources

import pytest

from optconform.adapters.execution import RUNTIMES, load_runtime, runtime_present
from optconform.conformance.cli.options import RUN_FORMATS
from optconform.conformance.reports.render import FORMATS
from optconform.gpu_ci import cli, outputs
from optconform.gpu_ci.case_list import CPU_ONLY, GPU_ONLY, SWEEPS, declared_cases
from optconform.gpu_ci.large_case import LARGE
from optconform.reference.rules import RULES

AUDIT = json.loads(resources.files("optconform.conformance").joinpath("schema/audit-1.schema.json").read_text("utf-8"))
MARKS = {
    "numpy": (),
    "torch": pytest.mark.torch,
    "jax": pytest.mark.jax,
    "tensorflow": pytest.mark.tensorflow,
}
"""Runtimes that this process may hold; of Keras's other backends `test_keras_backends` tells."""


def test_the_names_that_help_shows_are_those_there_are():
    assert tuple(RUNTIMES) == cli.RUNTIME_NAMES
    assert sorted(RULES) == sorted(cli.RULE_NAMES)


def test_the_schema_of_a_result_knows_every_runtime():
    assert AUDIT["properties"]["framework"]["enum"] == [*RUNTIMES, None]


def test_every_format_that_can_be_asked_for_can_be_written():
    assert {*RUN_FORMATS, "annotations"} == set(FORMATS)
    assert set(outputs.FILES.values()) == set(RUN_FORMATS) - {"text"}


def test_every_runtime_has_cases():
    assert {sweep.runtime for sweep in SWEEPS} == set(RUNTIMES)
    assert set(GPU_ONLY) | CPU_ONLY <= set(RUNTIMES)


@pytest.mark.parametrize("runtime", [pytest.param(name, marks=mark) for name, mark in MARKS.items()])
def test_the_cases_of_a_runtime_are_of_executions_that_it_has(runtime):
    if not runtime_present(RUNTIMES[runtime]):
        pytest.skip(f"{runtime} is not installed")
    offered = load_runtime(runtime).executions
    # The large case is executed by steps of its own, on any device; where there is no GPU, nobody needs 1e8 elements.
    assert GPU_ONLY.get(runtime, frozenset()) - {LARGE} == {n for n, row in offered.items() if "cpu" not in row.devices}
    assert (runtime in CPU_ONLY) == (not any("gpu" in row.devices for row in offered.values()))
    sweeps = [sweep for sweep in SWEEPS if sweep.runtime == runtime]
    asked = {(name, False) for sweep in sweeps for name in sweep.executions}
    asked |= {(name, True) for sweep in sweeps for name in sweep.slow if name != LARGE}
    assert asked <= {(row.name, row.slow) for row in offered.values()}
    assert {name for name, _ in asked} >= set(offered) - {"default"}, "an execution that no case asks for"


def test_a_device_is_asked_for_what_it_has():
    on_cpu, on_gpu = (
        {(case.runtime, case.execution) for case in declared_cases(device)} for device in ("cpu", "gpu:0")
    )
    assert on_gpu - on_cpu == {(runtime, name) for runtime, names in GPU_ONLY.items() for name in names}
    assert {runtime for runtime, _ in on_cpu - on_gpu} == CPU_ONLY
