"""A log that tests read, as the JSON it is."""

from __future__ import annotations

import io
import json
from typing import Any


class Logs(io.StringIO):
    """What was written, as the JSON it is."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]
