"""The chart: its tools, what is generated of it, and its tests."""
