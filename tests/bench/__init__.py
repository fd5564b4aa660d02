"""The benchmark: the real bridge next to the plain boto3 loop, on the same topic, in the same run.

`make bench` runs all of it; `python -m tests.bench --help` says what can be left out. Every figure is taken
from outside the programs: from `/proc` and from what the fake EventBridge accepted. Absolute times differ
between machines and hours; the ratios are what counts. Nothing here is a test, and nothing asserts a time.
"""
