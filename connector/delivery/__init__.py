"""One target. Order and packing: `queue`. What answers mean: `sender`, `failures`. When: `rate`.

`source_gate` keeps events from sources that would drop or refuse them.
"""
