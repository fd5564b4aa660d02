"""Dead letters of records that were found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing

from connector import config
from connector.dead_letters.format import DeadLetter, DeadLetterInfo, UnreadableLetter, label, read
from connector.dead_letters.resolutions import DeadLetterState
from connector.dead_letters.topics import DeadLetterTopic, ResolutionTopic
from connector.delivery_log.search import FoundRecord, Show, known_since
from connector.delivery_log.status import FoundLetter
from connector.model import Partition, Position, Ranges, Record, size_of

BATCH = 500


def newest_letters(
    settings: config.Settings, found: Collection[FoundRecord], *, show: Show
) -> Mapping[Position, FoundLetter]:
    """The newest dead letter of each record that has one, and its state.

    Raises:
        ConfigError: the dead-letter topic does not exist.
        UnavailableError: Kafka does not answer.
    """
    records = {each.position: each for each in found}
    letters: dict[Position, FoundLetter] = {}
    if not records:
        return letters
    with closing(DeadLetterTopic(settings)) as topic:
        ranges = topic.snapshot()
        with show("reading dead letters", size_of(ranges)) as shown:
            for batch in topic.read(ranges, since_ms=known_since(found), limit=BATCH):
                shown.advance(len(batch))
                for stored in batch:
                    read_back = letter_of(stored, records, max_replays=settings.dead_letter.max_replays)
                    if read_back is None:
                        continue
                    position, newer = read_back
                    held = letters.get(position)
                    if held is None or (held.written_ms, held.id) < (newer.written_ms, newer.id):
                        letters[position] = newer
    if letters:
        with closing(ResolutionTopic(settings)) as resolutions:
            resolved = resolutions.find([letter.id for letter in letters.values()])
        for position, letter in letters.items():
            resolution = resolved.get(letter.id)
            # Of another time it is about the letter that was there before the topic was made anew.
            if resolution is not None and resolution.written_ms == letter.written_ms:
                letters[position] = letter._replace(state=resolution.state, resolution=resolution)
    return letters


def letters_of_source(
    settings: config.Settings, source: str, *, since_ms: int | None, show: Show
) -> Iterator[DeadLetter]:
    """The dead letters of events to a source.

    Raises:
        ConfigError: the dead-letter topic does not exist.
        UnavailableError: Kafka does not answer.
    """
    with closing(DeadLetterTopic(settings)) as topic:
        yield from _matching(topic, topic.snapshot(), lambda said, _: said.source == source, since_ms, show)


def letters_delivered_as(
    settings: config.Settings, eventbridge_id: str, *, show: Show
) -> Iterator[DeadLetter]:
    """The dead letters that a replay delivered under this EventId, by their resolutions.

    Raises:
        ConfigError: the dead-letter topic does not exist.
        UnavailableError: Kafka does not answer.
    """
    with closing(ResolutionTopic(settings)) as resolutions:
        written = {
            letter: resolution.written_ms
            for letter, resolution in resolutions.follow()
            if resolution is not None and resolution.event_id == eventbridge_id
        }
    if not written:
        return
    with closing(DeadLetterTopic(settings)) as topic:
        there = topic.snapshot()
        ranges = {
            number: (offset, offset + 1)
            for (_, number), offset in written
            if number in there and there[number][0] <= offset < there[number][1]
        }
        yield from _matching(
            topic,
            ranges,
            lambda _, stored: written.get(stored.position) == (stored.timestamp_ms or 0),
            None,
            show,
        )


def _matching(
    topic: DeadLetterTopic,
    ranges: Ranges,
    is_wanted: Callable[[DeadLetterInfo, Record], bool],
    since_ms: int | None,
    show: Show,
) -> Iterator[DeadLetter]:
    with show("reading dead letters", size_of(ranges)) as shown:
        for batch in topic.read(ranges, since_ms=since_ms, limit=BATCH):
            shown.advance(len(batch))
            for stored in batch:
                try:
                    said = label(stored)
                except UnreadableLetter:
                    continue
                if is_wanted(said, stored):
                    yield read(stored, said)


def letter_of(
    stored: Record, records: Mapping[Position, FoundRecord], *, max_replays: int
) -> tuple[Position, FoundLetter] | None:
    """A record of the dead-letter topic as the letter of one of these records, and that one's position."""
    try:
        said = label(stored)
    except UnreadableLetter:
        return None
    position = Position(Partition(said.topic, said.partition), said.offset)
    record = records.get(position)
    if record is None:
        return None
    letter = read(stored, said)
    if None not in {letter.event_id, record.event_id} and letter.event_id != record.event_id:
        return None  # of the record that had this position before the topic was made anew
    is_parked = said.replay_count >= max_replays
    return position, FoundLetter(
        letter.id,
        letter.event_id,
        said.code,
        letter.message,
        letter.written_ms,
        said.source,
        said.detail_type,
        DeadLetterState.PARKED if is_parked else DeadLetterState.OPEN,
    )
