"""The templates of workflows fit the schemas that are published for them, and a misspelt key does not."""

from pathlib import Path

import pytest

TEMPLATES = Path(__file__).resolve().parents[2] / "gpu_ci" / "templates"
TABLE = [
    ("github-workflows", "github-actions.yml", "runs-on", "runs_on"),
    ("gitlab-ci", "gitlab-ci.yml", "timeout", "timeouts"),
]


@pytest.mark.parametrize(("schema", "name", "key", "misspelt"), TABLE)
def test_it_fits_the_published_schema(against_schema, schema, name, key, misspelt):
    done = against_schema(schema, TEMPLATES / name)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("schema", "name", "key", "misspelt"), TABLE)
def test_a_misspelt_key_does_not_fit_the_published_schema(against_schema, tmp_path, schema, name, key, misspelt):
    broken = tmp_path / "broken.yml"
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    broken.write_text(text.replace(f"{key}:", f"{misspelt}:"), encoding="utf-8")
    done = against_schema(schema, broken)
    assert done.returncode == 1
    assert misspelt in done.stdout
