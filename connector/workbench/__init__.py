"""A mapping tried before it is deployed, and what its customers need. It asks the bridge's own pipeline.

One record: `explanation`, whose doubts are in `doubts`. A suite of them: `fixtures`. All that a schema
allows: `schema_check`. What an Avro type becomes: `json_schema`. For customers: `export`, `handover`.
All that a running bridge reads next: `shadow_run`, counted in `shadow_report`.
"""
