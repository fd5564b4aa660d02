"""The delivery log: which records match a search, and the status of each. Sends and commits nothing.

What to search for, and what a record becomes: `search`. Finding records: `log`. Their receipts and dead
letters: `receipts`, `letters`. What running bridges say of those that wait: `bridges`. The verdict: `status`.
"""
