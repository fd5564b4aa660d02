"""What an operator sees. A metric or a log line: `metrics`. Its format: `log`. Probes: `health`, `server`."""
