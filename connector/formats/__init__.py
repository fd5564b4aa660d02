"""Bytes to JSON-able values. A new framing: a file beside `confluent`, and a line in `decoder`.

Avro is in `avro_schema` (reading), `avro_types` (types as JSON) and `avro_limits` (hostile
bytes); registries in `registries`, `schema_registry` and `registry_http`.
"""
