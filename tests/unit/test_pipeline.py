"""The pipeline: which topics are input."""

from __future__ import annotations

from pathlib import Path

from connector import config
from connector.formats.registries import Registries
from connector.pipeline import Pipeline


def test_neither_letters_nor_their_resolutions_nor_receipts_are_ever_input() -> None:
    """A pattern that matches everything must not send them round."""
    settings = config.load(Path(__file__).parents[2] / "examples" / "bridge.yaml", {})
    everything = {"^.*": next(iter(settings.topics.values())).model_copy(update={"filter": None})}
    registries = Registries.of(settings)
    receipts = config.ReceiptSettings(topic="receipts")
    pipeline = Pipeline(settings.model_copy(update={"topics": everything, "receipts": receipts}), registries)

    assert None is pipeline.refusal("orders.v1")
    assert "it is the dead-letter topic" == pipeline.refusal(settings.dead_letter.topic)
    resolutions = f"{settings.dead_letter.topic}.resolutions"
    assert "it is the topic of resolutions of dead letters" == pipeline.refusal(resolutions)
    assert "it is the receipts topic" == pipeline.refusal("receipts")
    registries.close()
