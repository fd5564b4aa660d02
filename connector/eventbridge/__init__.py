"""The calls. A rule for entries: `entry`. A new error code: `errors`. Credentials: `credentials`, `signer`.

One call is in `client`, those under way in `requests`, HTTP/1.1 in `http`, where it goes in `endpoint`.
"""
