"""Receipts: a record of each request that delivered something, so that `find` knows what became of an event.

What a receipt holds: `format`. Writing them: `writer`. Reading them: `topic`.
"""
