"""The real parts the tests run against: Apache Kafka, the Apicurio schema registry and AWS's Event Ruler.

Each is found in the same order: an address in the environment, a container engine, Maven Central. Java
is a package of Python.
What could not be found raises `MissingServiceError`; `conftest.py` decides whether that skips or fails.
"""

from __future__ import annotations


class MissingServiceError(Exception):
    """No way to start a real part was found; the message says what was looked for and what to install."""
