"""Time as AWS has it, by what its answers say."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from connector.eventbridge.clock import Clock


def test_it_is_this_machines_until_an_answer_corrects_it() -> None:
    clock = Clock()

    assert time.time() == pytest.approx(clock.now_s(), abs=5)
    clock.correct(formatdate(time.time() + 3600, usegmt=True))
    assert time.time() + 3600 == pytest.approx(clock.now_s(), abs=5)


@pytest.mark.parametrize("date", ["", "yesterday", "2026-11-29T10:00:00Z"])
def test_what_is_no_date_corrects_nothing(date: str) -> None:
    """As of a proxy that answers in the place of AWS."""
    clock = Clock()
    clock.correct(formatdate(time.time() + 3600, usegmt=True))
    clock.correct(date)

    assert time.time() + 3600 == pytest.approx(clock.now_s(), abs=5)
