"""The process that reads and tries letters: they come out of it as they were."""

from __future__ import annotations

import pickle

import pytest

from connector import config
from connector.dead_letters.dry_run import prepared_batches
from connector.dead_letters.replay_worker import slim
from connector.errors import RecordError
from connector.model import Record
from tests.replay_rig import Rig, record


@pytest.mark.parametrize(
    "read",
    [record(0, key=b"k"), record(0, draft=True), record(0, type=None)],
    ids=["sent", "dropped", "fails"],
)
def test_what_goes_through_the_pipe_comes_out_as_it_was(settings: config.Settings, read: Record) -> None:
    """A letter that another process read and tried is handled as if it was tried here."""
    rig = Rig([read], settings=settings)
    ((tried,),) = (batch.prepared for batch in prepared_batches(rig.scan(rig.ranges), rig.dry_run))
    letter, result = pickle.loads(pickle.dumps(slim(tried)))

    assert tried.item.record == letter.record
    assert (tried.item.id, tried.item.label) == (letter.id, letter.label)
    assert rig.dry_run.event_id(letter) == rig.dry_run.event_id(tried.item) == "first/0"
    assert tried.item.first_failure_ms == letter.first_failure_ms
    if isinstance(tried.result, RecordError):
        assert isinstance(result, type(tried.result))
        assert (tried.result.stage, tried.result.code, str(tried.result)) == (
            result.stage,
            result.code,
            str(result),
        )
    else:
        assert tried.result == result
