"""The JSON Schema of fixtures: `python -m tests.docs.fixture_schema > schemas/fixture.json`."""

from __future__ import annotations

import json
import sys

from connector.config.load import WithoutTitles
from connector.workbench.fixtures import Fixture


def fixture_schema() -> str:
    """What schemas/fixture.json holds."""
    schema = Fixture.model_json_schema(schema_generator=WithoutTitles)
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | schema | {"title": "Cases of a topic"}, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(fixture_schema())
