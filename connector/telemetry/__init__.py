"""Metrics and log lines: `metrics`, over `series`. Format of the log: `log`. Probes: `health`, `server`.

The page for people: `page`, with numbers of `tally`.
"""
