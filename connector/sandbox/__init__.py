"""Everything the bridge needs, without Docker or AWS: broker, EventBridge, schema registry.

For the demo, for the tests, and for users' own tests through `partner-bridge sandbox`.
"""
