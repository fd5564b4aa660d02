"""Dead letters. A header: `format`. Written: `writer`; read: `topics`. Which: `selection`, `cases`.

From sent to settled: `settlement`. Resolved: `resolutions`, `totals`, `open_count`. Sent again:
`redelivery` and its group, `dry_run`; letters alone by `replay` and `replay_worker`.
"""
