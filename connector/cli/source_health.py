"""What `source list` and `source status` say of a source besides what EventBridge lists, and their output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

import typer

from connector.cli.options import bridges_to_ask
from connector.cli.output import duration, note, plural, print_table, print_values, progress
from connector.cli.times import zoned_time_ms
from connector.errors import ConfigError, UnavailableError
from connector.model import iso_second, now_ms, size_of
from connector.sources.replicas import SourceHealth, added, ask, latest

if TYPE_CHECKING:
    from connector.config import ReceiptSettings, Settings
    from connector.dead_letters.totals import DeadLetteredTotal
    from connector.model import Record
    from connector.receipts.totals import DeliveredTotal
    from connector.sources.admin import Row

RECENT_MS = 24 * 3_600_000
"""Receipts and dead letters are read from so long ago on, unless --since says otherwise."""


class Figures:
    """The figures of sources: of running bridges and, where the configuration has receipts, of topics.

    What has come to an end is counted by receipts and dead letters, since the same time. What waits now only
    running bridges know.
    """

    def __init__(
        self,
        settings: Settings,
        bridges: Sequence[str] | None,
        since: str | None,
        *,
        source: str | None = None,
    ) -> None:
        """`bridges` is None for the one on this machine. With `source` only that is looked for in receipts.

        Raises:
            typer.BadParameter: an argument cannot be meant.
        """
        asked = bridges_to_ask(settings, bridges)
        since_ms = _since_ms(settings, since)
        self._answers = ask(asked, settings.http.authorization)
        self._totals: Mapping[tuple[str, str], DeliveredTotal] = {}
        self._dead_lettered: Mapping[tuple[str, str], DeadLetteredTotal] = {}
        self._receipts: dict[str, object] | None = None
        self._letters: dict[str, object] | None = None
        self.problems: list[str] = []
        """Why receipts or dead letters are not counted although they should be, in sentences."""
        if settings.receipts is None:
            return
        try:
            self._read_receipts(settings, settings.receipts, since_ms, source)
        except (ConfigError, UnavailableError) as error:
            self.problems.append(
                f"Receipts are not counted, nor what bridges delivered that are gone: {error}"
            )
        try:
            self._read_letters(settings, since_ms, source)
        except (ConfigError, UnavailableError) as error:
            self.problems.append(
                f"Dead letters are counted as running bridges say, without those that are gone: {error}"
            )

    def of(self, row: Row) -> SourceHealth:
        """The figures of one source."""
        key = (row.target, row.source)
        health = added(row.source, row.target, row.status.state, self._answers.sources.get(key, ()))
        update: dict[str, object] = {}
        if self._receipts is not None:
            update |= {"delivered": 0, "bytes": 0, "billed_chunks": 0}
        if self._letters is not None:
            update["dead_lettered"] = 0
        if total := self._totals.get(key):
            at_ms, event_id, eventbridge_id = total.last
            last = {"at": iso_second(at_ms), "event_id": event_id, "eventbridge_id": eventbridge_id}
            update |= {
                "delivered": total.events,
                "bytes": total.size_bytes,
                "billed_chunks": total.billed_chunks,
                "last_delivered": latest([last, health.last_delivered]),
            }
        if dead_lettered := self._dead_lettered.get(key):
            at_ms, code, text = dead_lettered.last.short()
            error = {"at": iso_second(at_ms), "code": code, "text": text}
            update |= {
                "dead_lettered": dead_lettered.events,
                "last_error": latest([error, health.last_error]),
            }
        return health.model_copy(update=update)

    def origin(self) -> dict[str, object]:
        """Where the figures come from, for machines."""
        answered, silent = self._answers.answered, self._answers.silent
        return {
            "bridges": {"answered": [*answered], "silent": [*silent]},
            "receipts": self._receipts,
            "dead_letters": self._letters,
        }

    def print_origin(self) -> None:
        """The same in notes to people, as far as it is not as expected."""
        for bridge, reason in self._answers.silent.items():
            note(f"no bridge answers at {bridge}, so the figures are without it (--bridge URL): {reason}")
        read = [(self._receipts, "delivered, bytes and chunks"), (self._letters, "dead-lettered")]
        counted = [f"{what} in {origin['topic']}" for origin, what in read if origin]
        since = next((origin["since"] for origin, _ in read if origin), None)
        if counted:
            rest = "what is held and waits is of running bridges"
            if len(counted) < len(read):
                rest = "all else is of running bridges since they started"
            counts = ", and ".join(counted)
            note(f"counted since {since}, also of bridges that are gone: {counts}; {rest}")

    def _read_receipts(
        self, settings: Settings, receipts: ReceiptSettings, since_ms: int, source: str | None
    ) -> None:
        from connector.receipts.format import Wanted  # noqa: PLC0415
        from connector.receipts.topic import ReceiptTopic  # noqa: PLC0415
        from connector.receipts.totals import delivered_totals  # noqa: PLC0415

        with closing(ReceiptTopic(settings, receipts)) as topic:
            ranges = topic.ranges(since_ms=since_ms)
            wanted = None if source is None else Wanted(sources=frozenset({source}))
            with progress("receipts read", size_of(ranges)) as shown:
                read = topic.read(ranges, wanted=wanted, on_read=shown.advance)
                self._totals = delivered_totals(read, bridge=settings.name, since_ms=since_ms)
            self._receipts = {
                "topic": topic.name,
                "since": iso_second(since_ms),
                "unreadable": topic.unreadable,
            }

    def _read_letters(self, settings: Settings, since_ms: int, source: str | None) -> None:
        from connector.dead_letters.topics import DeadLetterTopic  # noqa: PLC0415
        from connector.dead_letters.totals import dead_lettered_totals  # noqa: PLC0415

        with closing(DeadLetterTopic(settings)) as topic:
            ranges = topic.snapshot()
            with progress("dead letters read", size_of(ranges)) as shown:
                read = _shown(topic.read(ranges, since_ms=since_ms), shown.advance)
                self._dead_lettered = dead_lettered_totals(
                    read, bridge=settings.name, since_ms=since_ms, source=source
                )
            self._letters = {"topic": topic.name, "since": iso_second(since_ms)}


def _shown(batches: Iterable[Sequence[Record]], on_read: Callable[[int], None]) -> Iterator[Sequence[Record]]:
    for batch in batches:
        on_read(len(batch))
        yield batch


def row_json(row: Row, health: SourceHealth | None = None) -> dict[str, object]:
    """A source as `schemas/source-health.json` describes it."""
    health = health or added(row.source, row.target, row.status.state, ())
    figures = health.model_dump(mode="json", exclude={"source", "target", "state", "since", "looked_up"})
    return {
        "source": row.source,
        "target": row.target,
        "region": row.region,
        "state": row.status.state,
        "since": health.since,
        "account": row.status.account,
        "created": iso_second(row.status.created_ms),
        "expires": iso_second(row.status.expires_ms),
        **figures,
    }


def print_rows(rows: Iterable[tuple[Row, SourceHealth]]) -> None:
    """A table of sources, what support is asked first on the left."""
    header = ("source", "state", "account", "region", "last delivered", "oldest waiting", "last error",
              "delivered", "dead letters", "held", "billed", "created", "expires")  # fmt: skip
    shown = [
        (
            row.source,
            row.status.state,
            row.status.account or "-",
            row.region,
            _minute((health.last_delivered or {}).get("at")),
            _age(health.oldest_waiting) if health.oldest_waiting else "-",
            (health.last_error or {}).get("code", "-"),
            *map(_count, (health.delivered, health.dead_lettered, health.held, health.billed_chunks)),
            _minute(iso_second(row.status.created_ms)),
            _minute(iso_second(row.status.expires_ms)),
        )
        for row, health in rows
    ]
    if shown:
        print_table(header, shown, right=("delivered", "dead letters", "held", "billed"))


def print_disagreements(healths: Sequence[SourceHealth]) -> None:
    """Note the sources that bridges see in another state than EventBridge lists."""
    other = [each for each in healths if each.other_states]
    if other:
        first = other[0]
        note(
            f"running bridges last saw {plural(len(other), 'source')} in another state, as {first.source}: "
            f"{first.state} now, and {' and '.join(first.other_states)} there"
        )


def print_status(row: Row, health: SourceHealth | None = None) -> None:
    """One source, a line for each thing that is known of it."""
    health = health or added(row.source, row.target, row.status.state, ())
    delivered, error = health.last_delivered, health.last_error
    ids = delivered and f" ({delivered.get('event_id')}, EventId {delivered.get('eventbridge_id')})"
    print_values(
        {
            "source": row.source,
            "target": f"{row.target}, {row.region}",
            "state": str(row.status),
            "since": health.since,
            "paused": f"until {health.paused.get('until') or 'it is resumed'}" if health.paused else None,
            "seen otherwise": ", ".join(health.other_states) or None,
            "account": row.status.account,
            "created": iso_second(row.status.created_ms),
            "expires": iso_second(row.status.expires_ms),
            "last delivered": f"{delivered.get('at')}{ids}" if delivered else None,
            "oldest waiting": health.oldest_waiting
            and f"for {_age(health.oldest_waiting)}, since {health.oldest_waiting}",
            "last error": f"{error.get('at')} {error.get('code')}: {error.get('text')}" if error else None,
            "delivered": _amount(health.delivered),
            "dead-lettered": _amount(health.dead_lettered),
            "held": _amount(health.held),
            "bytes": _amount(health.bytes),
            "chunks billed": _amount(health.billed_chunks),
        },
        mark=":",
        wraps=True,
    )


def _since_ms(settings: Settings, since: str | None) -> int:
    if since is None:
        return now_ms() - RECENT_MS
    if settings.receipts is None:
        raise typer.BadParameter(
            "it says how far back receipts are counted, and the configuration has none; set `receipts`, or "
            "leave it out to see the counts of running bridges",
            param_hint="--since",
        )
    since_ms = zoned_time_ms(since, "--since")
    if since_ms > now_ms():
        raise typer.BadParameter(f"{since} is in the future", param_hint="--since")
    return since_ms


def _minute(time: str | None) -> str:
    return (time or "-")[:16].replace("T", " ")


def _age(since: str) -> str:
    return duration(now_ms() / 1000 - datetime.fromisoformat(since).timestamp())


def _count(count: int | None) -> str:
    return "-" if count is None else str(count)


def _amount(count: int | None) -> str | None:
    return None if count is None else f"{count:,}"
