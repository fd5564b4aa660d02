"""The schemas of a topic as a real registry has them, by Confluent's API and by Apicurio's own."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import yaml

from connector import config
from connector.errors import ConfigError
from connector.workbench.topic_schemas import topic_schemas
from tests.configuration import EVENT, with_settings
from tests.services.registry import CONFLUENT_API, Registry


@pytest.mark.parametrize("api", ["confluent", "apicurio"])
def test_the_last_versions_are_had_with_what_they_refer_to(registry: Registry, api: str) -> None:
    """Newest first, and the same by both APIs; a topic that has none is said."""
    topic = f"orders.{uuid.uuid4().hex[:8]}"
    money = {"type": "record", "name": "Money", "namespace": "shop", "fields": []}
    registry.register(f"{topic}-money", money)
    references = [{"name": "shop.Money", "subject": f"{topic}-money", "version": 1}]
    for version in (1, 2, 3):
        registry.register(f"{topic}-value", order(version), references=references)
    own = {"url": registry.url, "type": "confluent"}
    if api == "apicurio":
        own = {"url": registry.url.replace(CONFLUENT_API, "/apis/registry/v3"), "type": "apicurio"}
    topics = {name: {"event": EVENT, "value": {"framing": api}} for name in (topic, "none")}
    values = yaml.safe_load(with_settings(topics=topics))
    settings = config.Settings.model_validate(values | {"schema_registry": own})

    assert [
        (f"version 3 of {topic}-value", [money, order(3)]),
        (f"version 2 of {topic}-value", [money, order(2)]),
    ] == topic_schemas(settings, topic)
    with pytest.raises(ConfigError, match=r"none-value is not in the schema registry at .*; give a file"):
        topic_schemas(settings, "none")


def order(version: int) -> dict[str, Any]:
    fields = [{"name": f"f{number}", "type": "int", "default": 0} for number in range(version)]
    return {"type": "record", "name": "Order", "fields": [*fields, {"name": "total", "type": "shop.Money"}]}
