"""The planted faults, in every framework: departures planted in the families, and the rows that no departure makes."""

from __future__ import annotations

from collections.abc import Iterator

from .departures import DEPARTURES
from .families import FAMILIES, OF_DECAY, Family, Named
from .other_faults import OTHER_FAULTS
from .planted import Planted

_IN_EVERY_FAMILY = frozenset({"numpy"})
"""Frameworks in which every fault of the decay is planted in every family; in the others, by turns, in one: an
audit costs .15 s in NumPy, and .8 s in Keras."""


def _departing() -> Iterator[Planted]:
    for place, family in enumerate(FAMILIES):
        for framework in family.targets:
            every = framework in _IN_EVERY_FAMILY
            own = [named for turn, named in enumerate(OF_DECAY) if every or turn % len(FAMILIES) == place]
            for named in (*own, *family.faults):
                if framework in named.frameworks:
                    yield _row(family, framework, named)


def _row(family: Family, framework: str, named: Named) -> Planted:
    return Planted(
        name=f"{framework}-{family.name}-{named.fault}",
        framework=framework,
        target=family.targets[framework],
        options={"fault": named.fault},
        expectation=family.expectation,
        code=named.code,
        severity=named.severity,
        description=DEPARTURES[named.fault].description,
        also=frozenset(named.also),
        exit_status=named.exit_status,
        # A fault of the step shows only where the rule is known; the others are named without it.
        documented_rule=family.documented_rule if named.code == "OC301" else None,
    )


PLANTED = (*_departing(), *OTHER_FAULTS)
"""Every planted fault."""
