"""librdkafka. The consumer group: `consumer`. Reading without a group: `reader`. Options of all: `client`.

Brokers that do not answer: `broker_health`. Distance to the end: `lag`, `ends`. Only this package, the files
of dead_letters and receipts that read and write topics, and the sandbox know confluent_kafka.
"""
