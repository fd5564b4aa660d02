"""The tables in README, generated, and the tests that they are current."""
