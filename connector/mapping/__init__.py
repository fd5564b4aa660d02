"""A decoded record to an event: `event` fills it in, from `templates`; `expressions` are inside `${}`.

What an expression can yield, for checks at start: `results`.
"""
