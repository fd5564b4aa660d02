"""Records sent again to one customer, or to all: `events resend`.

To change which records a resend is about, see `selection.py`; what is counted beforehand, `plan.py`; how
they are sent and how far that is, `resend.py`, on the engine of `dead_letters/redelivery.py`.
"""
