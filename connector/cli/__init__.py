"""The command line. Commands and arguments: `app`, `dead_letters` and `sources`.

The work of the larger commands stands in files of its own; `output` prints for all of them.
"""

from connector.cli.app import main

__all__ = ["main"]
