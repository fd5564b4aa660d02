"""Dead letters. A header: `format`. Written: `writer`; read: `topics`. Which: `selection`, `cases`.

From sent to settled: `settlement`. Resolved: `resolutions`, `totals`, `open_count`. Sent again: `replay`,
with `dry_run`, `replay_worker` and `replay_group`.
"""
