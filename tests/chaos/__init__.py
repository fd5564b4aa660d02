"""The fault machine: real Kafka, several bridges, and everything that can go wrong, by the dice of a seed."""
