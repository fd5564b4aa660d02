"""`python -m connector` is `partner-bridge`."""

from connector.cli import main

main()
