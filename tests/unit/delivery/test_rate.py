"""When the next request may leave."""

from __future__ import annotations

import pytest

from connector.delivery.rate import FAILURES_TO_OPEN, WINDOW_S, BreakerState, RateControl, full_jitter


def rate_control(*, max_per_second: float | None = None) -> RateControl:
    """A pace whose jitter always draws the whole range."""
    return RateControl(
        max_per_second=max_per_second, initial_interval_s=0.1, max_interval_s=30.0, draw=lambda: 1.0
    )


def sent_in(rate_control: RateControl, start_s: float, seconds: float, *, throttled: int = 0) -> int:
    """How many requests of 20 entries leave when the target answers each at once."""
    count = 0
    for tick in range(int(seconds * 1000)):
        now_s = start_s + tick / 1000
        while rate_control.may_send(now_s, 0) and count < 100_000 and count <= tick * 2:
            rate_control.sent(now_s)
            rate_control.answered(now_s, entries=20, accepted=20 - throttled, throttled=throttled)
            count += 1
    return count


def test_a_configured_rate_is_kept() -> None:
    """`max_requests_per_second` bounds what leaves, with a tenth of a second saved up at most."""
    assert 100 <= sent_in(rate_control(max_per_second=50), 0.0, 2.0) <= 106


def test_failures_in_a_row_open_the_breaker() -> None:
    """A target that answers nothing gets one probe at a time, after a pause."""
    p = rate_control()
    for _ in range(FAILURES_TO_OPEN - 1):
        p.failed(0.0)
    assert p.may_send(0.0, 7)

    p.failed(0.0)

    assert BreakerState.OPEN is p.state
    assert not p.may_send(0.05, 0)
    assert p.may_send(0.11, 0)
    assert not p.may_send(0.11, 1)


def test_an_answer_between_failures_keeps_the_breaker_closed() -> None:
    """One request in a hundred that fails is not an outage."""
    p = rate_control()
    for _ in range(FAILURES_TO_OPEN * 3):
        p.failed(0.0)
        p.answered(0.0, entries=1, accepted=1, throttled=0)

    assert BreakerState.OK is p.state


def test_an_answered_probe_closes_the_breaker() -> None:
    """Recovery needs one answer, not a restart."""
    p = rate_control()
    for _ in range(FAILURES_TO_OPEN):
        p.failed(0.0)
    p.sent(1.0)
    assert not p.may_send(1.0, 1)

    p.answered(1.1, entries=20, accepted=20, throttled=0)

    assert BreakerState.OK is p.state
    assert p.may_send(1.1, 5)


def test_probes_of_an_outage_leave_no_debt_behind() -> None:
    """At one request in 50 s a hundred probes would else be paid back for over an hour."""
    p = rate_control(max_per_second=0.02)
    now_s = 0.0
    for _ in range(100):
        p.sent(now_s)
        p.failed(now_s)
        now_s = p.next_s(now_s)
    p.answered(now_s, entries=1, accepted=1, throttled=0)

    assert p.next_s(now_s) <= now_s + 50


def test_failed_probes_wait_longer_each_time_up_to_the_limit() -> None:
    """An outage of hours costs one probe every `max_interval`, and recovery is seen within it."""
    p = rate_control()
    now_s = 0.0
    waits = []
    for _ in range(FAILURES_TO_OPEN + 12):
        p.failed(now_s)
        waits.append(p.next_s(now_s) - now_s)
        now_s = p.next_s(now_s)
        p.sent(now_s)

    opened = waits[FAILURES_TO_OPEN - 1 :]
    assert sorted(opened) == opened
    assert 30.0 == pytest.approx(opened[-1])


def test_a_throttled_request_waits_as_long_as_asked() -> None:
    """`x-amz-retry-after` wins over our own backoff."""
    p = rate_control()
    p.throttled(0.0, entries=20, retry_after_s=2.0)

    assert not p.may_send(1.9, 0)
    assert p.may_send(2.1, 0)
    assert BreakerState.OK is p.state


def test_throttling_everything_halves_the_rate() -> None:
    """Each window in which all was throttled halves what is allowed, down to a floor."""
    p = rate_control(max_per_second=100)
    p.throttled(0.0, entries=20, retry_after_s=None)
    p.throttled(WINDOW_S, entries=20, retry_after_s=None)
    assert 50 == p.rate
    for window in range(2, 30):
        p.throttled(WINDOW_S * window, entries=20, retry_after_s=None)

    assert 1.0 == p.rate


def test_a_few_throttled_entries_cost_little() -> None:
    """A steady 1 % of throttled entries must not bring the bridge to its knees."""
    p = rate_control(max_per_second=1000)
    for window in range(4000):
        now_s = window * WINDOW_S
        p.sent(now_s)
        p.answered(now_s, entries=100, accepted=99, throttled=1)

    assert p.rate is not None
    assert p.rate > 900


def test_the_rate_comes_back_without_throttles() -> None:
    """Twenty seconds of success restore the rate, and then the limit that was not configured is gone."""
    p = rate_control()
    for window in range(8):
        for _ in range(100):
            p.sent(window * WINDOW_S)
        p.throttled(window * WINDOW_S, entries=20, retry_after_s=None)
    assert p.rate is not None

    for second in range(4, 300):
        p.answered(float(second), entries=20, accepted=20, throttled=0)

    assert p.rate is None


def test_jitter_spreads_over_the_range_and_never_retries_at_once() -> None:
    """Clients that failed together must not come back together, nor immediately."""
    assert 0.1 == pytest.approx(full_jitter(1, initial_s=1.0, max_s=30.0, draw=lambda: 0.0))
    assert 30.0 == pytest.approx(full_jitter(99, initial_s=1.0, max_s=30.0, draw=lambda: 1.0))


@pytest.mark.parametrize("rate", [0.5, 10.0, 100.0, 3_000.0])
def test_no_more_than_the_rate_passes(rate: float) -> None:
    """Over ten seconds, but for what was saved up; and not much less, however rarely it is asked."""
    paced = RateControl(max_per_second=rate)

    passed = 0
    for tick in range(2_000):
        while paced.may_send(tick * 0.005):
            paced.sent(tick * 0.005)
            passed += 1

    assert 0.95 * rate * 10 - 1 <= passed <= rate * 10 + max(1.0, rate / 10) + 1


def test_the_next_moment_is_that_of_the_next_token() -> None:
    """The loop waits until then, neither longer nor in a spin."""
    p = rate_control(max_per_second=2)
    assert 5.0 == p.next_s(5.0)

    p.sent(5.0)

    assert 5.5 == p.next_s(5.0)
    assert not p.may_send(5.49)
    assert p.may_send(5.5)


def test_the_next_moment_is_that_at_which_a_throttle_lets_go() -> None:
    """What EventBridge asked for counts, where it is later than the next token."""
    p = rate_control()
    p.throttled(5.0, entries=20, retry_after_s=3.0)

    assert 8.0 == p.next_s(5.0)
    assert not p.may_send(7.99)
    assert p.may_send(8.0)


def test_throttles_in_a_row_wait_twice_as_long_each_until_one_is_accepted() -> None:
    """Throttles between acceptances are usual under load; throttles in a row are not."""
    p = rate_control()
    waits_s = []
    for _ in range(3):
        p.throttled(0.0, entries=20, retry_after_s=None)
        waits_s.append(p._not_before_s)
    p.answered(0.0, entries=20, accepted=20, throttled=0)
    p.throttled(100.0, entries=20, retry_after_s=None)

    assert [0.1, 0.2, 0.4] == pytest.approx(waits_s)
    assert 100.1 == pytest.approx(p._not_before_s)


def test_a_target_that_is_down_is_probed_by_one_request() -> None:
    """The metric `target_state` shows which of the two it is."""
    p = rate_control()
    for _ in range(FAILURES_TO_OPEN):
        p.failed(0.0)
    p.sent(1.0)

    assert BreakerState.PROBING is p.state


@pytest.mark.parametrize(("rate", "saved_up"), [(50, 5), (2, 1)])
def test_a_tenth_of_a_second_may_be_saved_up(rate: float, saved_up: int) -> None:
    """After an idle hour no burst leaves that the rate was to prevent."""
    p = rate_control(max_per_second=rate)
    p.next_s(0.0)
    left = 0
    while p.may_send(3_600.0):
        p.sent(3_600.0)
        left += 1

    assert saved_up == left


def test_the_first_throttle_shows_the_rate_which_then_comes_back_slowly() -> None:
    """40 requests in half a second were too much: 80 a second is the ceiling, and half of it is tried."""
    p = rate_control()
    p.answered(0.0, entries=20, accepted=20, throttled=0)
    assert p.rate is None
    p = rate_control()
    p._adapt(0.0, 0, 0)
    for _ in range(40):
        p.sent(0.0)
    p.answered(0.5, entries=20, accepted=0, throttled=20)
    assert 40.0 == pytest.approx(p.rate)

    rates = []
    for second in range(1, 33):
        p.answered(second + 0.5, entries=20, accepted=20, throttled=0)
        rates.append(p.rate)

    assert 44.0 == pytest.approx(rates[0])
    assert 160.0 == pytest.approx(rates[29])
    assert rates[31] is None


def test_a_long_window_gives_no_more_back_than_a_second() -> None:
    """Who sent nothing for an hour has not shown that more is taken now."""
    p = rate_control()
    p._adapt(0.0, 0, 0)
    for _ in range(40):
        p.sent(0.0)
    p.answered(0.5, entries=20, accepted=0, throttled=20)
    p.answered(3_600.0, entries=20, accepted=20, throttled=0)

    assert 44.0 == pytest.approx(p.rate)


@pytest.mark.parametrize("answer", ["accepted", "throttled"])
def test_failures_are_counted_anew_after_an_answer(answer: str) -> None:
    """Only those in a row say that a target is down."""
    p = rate_control()
    for _ in range(FAILURES_TO_OPEN - 1):
        p.failed(0.0)
    if answer == "accepted":
        p.answered(0.0, entries=1, accepted=1, throttled=0)
    else:
        p.throttled(0.0, entries=1, retry_after_s=0.0)
    for _ in range(FAILURES_TO_OPEN - 1):
        p.failed(0.0)

    assert BreakerState.OK is p.state


def test_a_burst_leaves_at_once_and_is_saved_up_again() -> None:
    """At first and after a quiet time; in between the rate holds."""
    pace = RateControl(max_per_second=10, burst=30)

    def leaves(now_s: float) -> int:
        count = 0
        while pace.may_send(now_s):
            pace.sent(now_s)
            count += 1
        return count

    assert [30, 0, 10, 30] == [leaves(now_s) for now_s in (0.0, 0.01, 1.01, 60.0)]


def test_a_throttle_ends_a_burst() -> None:
    pace = RateControl(max_per_second=10, burst=30)
    pace.sent(0.0)
    pace.throttled(0.0, entries=1, retry_after_s=0.01)
    pace.sent(0.02)

    assert not pace.may_send(0.03)
