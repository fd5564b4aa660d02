"""`partner-bridge`, which is `python -m connector`: signals first, then everything else."""

from __future__ import annotations

import sys
from typing import NoReturn

from connector import process

UNTIL_TOLD = ("run", "sandbox")
"""Commands for which a signal is the ordinary end."""


def main() -> NoReturn:
    """Run the command line; ends the process."""
    process.listen(until_told=sys.argv[1:2] in [[command] for command in UNTIL_TOLD])
    from connector.cli import app  # noqa: PLC0415

    try:
        app.main()
    except SystemExit as ended:
        code = ended.code
    process.end(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
