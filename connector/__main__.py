"""`partner-bridge`, which is `python -m connector`: signals first, then everything else."""

from __future__ import annotations

import sys
from typing import NoReturn

from connector import process


def runs_until_told(arguments: list[str]) -> bool:
    """Whether a signal is the ordinary end: that of `run`, and of `sandbox` without a command behind it.

    A dry run ends in order, too, and says itself what it found. Before it reads, it found nothing.
    """
    match arguments:
        case ["run", *options]:
            return "--dry-run" not in options
        case ["sandbox", *options]:  # its options are flags, or have a number
            return all(option.startswith("-") or option.isdecimal() for option in options)
    return False


def main() -> NoReturn:
    """Run the command line; ends the process."""
    process.listen(until_told=runs_until_told(sys.argv[1:]))
    process.tune_gc()
    from connector.cli import app  # noqa: PLC0415

    try:
        app.main()
    except SystemExit as ended:
        code = ended.code
    process.end(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
