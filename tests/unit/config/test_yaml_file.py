"""The YAML file: which scalars stay text, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector import config
from connector.errors import ConfigError
from tests.configuration import MINIMAL, Written

# What is accepted


def test_scalars_are_text_until_a_setting_types_them(written: Written) -> None:
    """`0123` keeps its zero, `NO` is no boolean, dates stay text: nothing is lost to YAML's guesses."""
    text = MINIMAL.replace(
        "group.id: orders", "group.id: 0123\n  sasl.password: 1e3\n  socket.nagle.disable: True"
    )
    detail = "{country: NO, on: 2024-01-31, count: 12, price: 1.5, yes: true, text: '12', none: null}"
    settings = written.load(text.replace("detail_type: Order", f"detail_type: 2024-01-31, detail: {detail}"))

    assert {"group.id": "0123", "sasl.password": "1e3", "socket.nagle.disable": "true"}.items() <= (
        settings.kafka.options.items()
    )
    event = settings.topics["orders.v1"].event
    assert "2024-01-31" == event.detail_type
    expected = {
        "country": "NO",
        "on": "2024-01-31",
        "count": 12,
        "price": 1.5,
        "yes": True,
        "text": "12",
        "none": None,
    }
    assert expected == event.detail


def test_topics_can_share_settings_by_yaml_anchors(written: Written) -> None:
    """`<<: *other` inherits, and a key written next to it wins without counting as written twice."""
    text = MINIMAL.replace("orders.v1:", "orders.v1: &orders").rstrip()
    settings = written.load(text + "\n  orders.v2:\n    <<: *orders\n    ordering: unordered\n")

    assert ("key", "unordered") == tuple(topic.ordering for topic in settings.topics.values())
    assert "Order" == settings.topics["orders.v2"].event.detail_type


# YAML


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "bridge.yaml, line 1, column 5: not YAML: "),
        ("a: 1\n\tb: 2", "not YAML: found character"),
        ("- a", "bridge.yaml: must be a mapping of settings at the top level"),
        ("a: 1\n---\nb: 2", "not YAML: but found another document"),
        (MINIMAL + "\n? [a]\n: b\n", "a key must be text (line 12)"),
        (MINIMAL + "\nhttp: &h {port: *h}\n", "http.port: refers to itself (line 12)"),
        (MINIMAL + "\nname: !env X\n", "name: YAML tag !env means nothing here; put text"),
        (MINIMAL + "\nname: a\nname: b\n", "name: written twice, first in line 12; keep one (line 13)"),
        (
            MINIMAL + "  orders.v1:\n    event: {source: a, detail_type: b}\n",
            "topics.orders.v1: written twice, first in line 9; keep one (line 11)",
        ),
        ("a: &a [x]\n" + "b: " + "[" * 500, "nested too deeply"),
    ],
)
def test_broken_yaml_is_one_problem_with_its_line(written: Written, text: str, expected: str) -> None:
    """What YAML refuses, and what PyYAML would lose in silence, is told with its line."""
    problems = written.problems(text)

    assert 1 == len(problems), problems
    assert expected in problems[0]


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    """Not a list of everything the file would have held."""
    for file, reason in ((tmp_path / "none.yaml", "no such file"), (tmp_path, "is a directory")):
        with pytest.raises(ConfigError, match=f"cannot read {file}: {reason}") as caught:
            config.load(file, {})

        assert 1 == len(caught.value.problems)


def test_bytes_that_are_no_text_are_one_problem(tmp_path: Path) -> None:
    """A file that is not UTF-8 is told as such."""
    file = tmp_path / "bridge.yaml"
    file.write_bytes(b"name: \xff\xfe\xfa")

    with pytest.raises(ConfigError, match="not YAML: ") as caught:
        config.load(file, {})

    assert 1 == len(caught.value.problems)
