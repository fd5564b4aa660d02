"""The benchmark: the real bridge next to the plain boto3 loop, on the same topic, in the same run.

`make bench` runs it, and `make curves` its curves; `--help` of `python -m tests.bench` and of `python -m
tests.bench.curves` says what can be left out. Every figure is taken from outside the programs: from `/proc`
and from what the fake EventBridge accepted. Absolute times differ between machines and hours; the ratios are
what counts. Nothing here asserts a time; `test_guard.py` asserts ratios within one process.
"""
