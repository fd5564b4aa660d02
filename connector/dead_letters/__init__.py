"""Dead letters. A header: `format`. Written: `writer`; read: `topics`. Which: `selection`, `cases`.

What became of them: `resolutions`, `totals`, `open_count`. Sent again: `replay`, with `dry_run`,
`replay_worker` and `replay_group`.
"""
