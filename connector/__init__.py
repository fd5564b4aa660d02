"""Delivers Avro events from Kafka topics to Amazon EventBridge partner event sources."""

__version__ = "0.1.0"
