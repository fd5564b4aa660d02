"""The last 15 minutes."""

from __future__ import annotations

from connector.telemetry.page.history import MAX_SAMPLES, SAMPLE_S, SPAN_S, History, Sample


def sample(at_s: float, delivered: int = 0) -> Sample:
    return Sample(at_s, delivered, 0, {}, {})


def test_a_sample_is_due_every_five_seconds() -> None:
    """The bridge asks every second."""
    history = History()

    assert history.is_due(0.0)

    history.add(sample(0.0))

    assert not history.is_due(SAMPLE_S - 0.1)
    assert history.is_due(SAMPLE_S)


def test_it_goes_back_fifteen_minutes_and_no_further() -> None:
    """However long the bridge runs."""
    history = History()
    for number in range(MAX_SAMPLES + 50):
        history.add(sample(number * SAMPLE_S))

    assert MAX_SAMPLES == len(history.samples)
    assert SPAN_S == history.samples[-1].at_s - history.samples[0].at_s


def test_lately_is_the_last_minute() -> None:
    """Or what there is of it."""
    history = History()
    history.add(sample(0.0))

    assert history.lately() is None

    for at_s in (5.0, 30.0, 64.0):
        history.add(sample(at_s))

    assert (5.0, 64.0) == tuple(each.at_s for each in history.lately() or ())

    history.add(sample(500.0))  # a long garbage collection, or a machine that slept

    assert (64.0, 500.0) == tuple(each.at_s for each in history.lately() or ())


def test_rates_are_a_minute() -> None:
    """Whatever time passed between two samples."""
    history = History()
    for at_s, delivered in ((0.0, 100), (5.0, 110), (15.0, 110)):
        history.add(sample(at_s, delivered))

    assert [(10.0, 120.0), (0.0, 0.0)] == [(age_s, rates.delivered) for age_s, rates in history.rates()]
