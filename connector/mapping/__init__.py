"""A decoded record to an event: `event` fills it in, from `templates`; `expressions` are inside `${}`."""
