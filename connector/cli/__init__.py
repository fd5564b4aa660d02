"""The command line. A command: `app`, `dead_letters`, `replay` or `sources`; `check` has all of `check`."""

from connector.cli.app import main

__all__ = ["main"]
