"""Write the JSON Schema of a configuration anew, after a change in `conformance/configuration/keys.py`."""

from pathlib import Path

from optconform.conformance.configuration.schema import FILE, schema_text

if __name__ == "__main__":
    folder = Path(__file__).resolve().parents[1] / "conformance" / "schema"
    (folder / FILE).write_text(schema_text(), encoding="utf-8")
