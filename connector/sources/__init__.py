"""Partner event sources. The calls: `api`. Their states, again and again: `poller`; once: `lookup`.

The list of customers is in `customers`, what the `source` commands do in `admin`.
"""
