"""AWS's clock, where that of this machine is wrong."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime


class Clock:
    """Unix time as AWS has it: this machine's, corrected once an answer has shown that it matters.

    EventBridge and S3 share that of their target, so that what an answer of one shows the next request to
    either knows. botocore signs requests to STS and to directory buckets, by this machine's time. Threads may
    share it.
    """

    def __init__(self) -> None:
        self._ahead_s = 0.0
        """Seconds by which AWS's clock is ahead of ours."""

    def now_s(self) -> float:
        return time.time() + self._ahead_s

    def correct(self, date: str) -> None:
        """Take the `Date` of an answer for the time at this moment; what is no date corrects nothing."""
        try:
            now_s = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return  # the second attempt fails as the first did, and says why
        self._ahead_s = now_s - time.time()
