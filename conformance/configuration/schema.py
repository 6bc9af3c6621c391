"""The JSON Schema of a configuration, by which editors complete and check it."""

from __future__ import annotations

import json
from typing import Any

from .keys import CONFIGURATION

FILE = "configuration-1.schema.json"
"""Its name in the package's folder of schemas."""


def configuration_schema() -> dict[str, Any]:
    """Return the schema of a whole pyproject.toml, of which it describes `[tool.optconform]` alone.

    Draft 7 is what editors of TOML read. It sees form and spelling; whether files are there only the command does.
    """
    table = {"description": "What optconform checks in this project, and how."} | CONFIGURATION.schema()
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:optconform:schema:configuration-1",
        "title": "pyproject.toml with [tool.optconform]",
        "type": "object",
        "properties": {"tool": {"type": "object", "properties": {"optconform": table}}},
    }


def schema_text() -> str:
    """Return the schema as the package's file holds it."""
    return json.dumps(configuration_schema(), indent=2) + "\n"
