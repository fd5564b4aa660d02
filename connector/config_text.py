"""Settings as people write them: YAML, environment variables, secret files, units, and their mistakes.

Everything written is text until a setting gives it a type: `acks: 1`, `acks: "1"` and
`BRIDGE_KAFKA__ACKS=1` are the same three characters. So nothing is lost on the way (`0123` keeps its
zero, `NO` is not false), and the file and the environment cannot disagree about what a value means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import SecretStr

from connector.config_problems import Group, Loc, bare, did_you_mean, is_group, path_of
from connector.errors import Problem

PREFIX = "BRIDGE_"
NOT_SETTINGS = {"BRIDGE_CONFIG"}

DURATION = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
SIZE = r"^[0-9]+(\.[0-9]+)?(B|KB|MB|GB|KiB|MiB|GiB)?$"
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_BYTES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "GB": 10**9, "MB": 10**6, "KB": 10**3, "B": 1, "": 1}


def seconds(written: object) -> object:
    """`100ms`, `5s`, `2m` or `1h` as seconds; numbers made in code pass through.

    Raises ValueError for text without a unit, because nobody can tell 5 seconds from 5 milliseconds.
    """
    if not isinstance(written, str):
        return written
    if re.fullmatch(r"[0-9.]+", written):
        raise ValueError("a duration needs a unit: write 100ms, 5s, 2m or 1h")
    if not (found := re.match(DURATION, written)):
        raise ValueError("is not a duration: write 100ms, 5s, 2m or 1h")
    unit = found[2]
    return float(Decimal(written.removesuffix(unit)) * _SECONDS[unit])


def size_bytes(written: object) -> object:
    """`64MiB`, `256KB` or a plain number as bytes; numbers made in code pass through."""
    if not isinstance(written, str):
        return written
    if not (found := re.match(SIZE, written)):
        raise ValueError("is not a size: write 64MiB, 256KB or a number of bytes")
    unit = found[2] or ""
    return int(Decimal(written.removesuffix(unit)) * _BYTES[unit])


def show_seconds(value: float) -> str:
    """A duration as it would be written: `0.05` as `50ms`, `120` as `2m`."""
    exact = Decimal(str(value))
    unit = next((unit for unit in ("h", "m", "s") if exact and exact % _SECONDS[unit] == 0), "ms")
    return f"{(exact / _SECONDS[unit]).normalize():f}{unit}"


def show_bytes(value: int) -> str:
    """A size as it would be written: `262144` as `256KiB`, `1000000` as `1MB`, `1001` as `1001B`."""
    unit = next((unit for unit, factor in _BYTES.items() if value and value % factor == 0), "B")
    return f"{value // _BYTES[unit]}{unit}"


class Plain(str):
    """A YAML scalar without quotes: text, until a setting that takes any JSON asks what it means."""

    __slots__ = ()

    @property
    def json(self) -> str | int | float | bool:
        if self in {"true", "false"}:
            return self == "true"
        if re.fullmatch(r"-?(0|[1-9][0-9]*)", self):
            return int(self)
        if re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", self):
            return float(self)
        return str(self)


def as_json(written: object) -> object:
    """Written text as the JSON it stands for: `true` and `12` typed, `"true"` and `"12"` text."""
    match written:
        case Plain():
            return written.json
        case dict():
            return {key: as_json(value) for key, value in written.items()}
        case list():
            return [as_json(value) for value in written]
    return written


@dataclass(slots=True)
class Written:
    """What a file or the environment says, where each part of it stands, and what is wrong already."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    """Path of a setting → `line 12` or the environment variable it came from."""
    problems: list[Problem] = field(default_factory=list)

    def over(self, other: Written) -> Written:
        """Both together; where they disagree, this one wins."""
        return Written(
            values=_merged(self.values, other.values),
            origins=other.origins | self.origins,
            problems=other.problems + self.problems,
        )

    def locate(self, problem: Problem) -> Problem:
        """The problem with its line or environment variable, taken from the nearest part that was written."""
        path = problem.path
        while path not in self.origins and path:
            path = path.rpartition(".")[0]
        return problem._replace(message=f"{problem.message} ({self.origins[path]})") if path else problem


def _merged(upper: Any, lower: Any) -> Any:
    if not isinstance(upper, dict) or not isinstance(lower, dict):
        return upper
    return lower | {key: _merged(value, lower.get(key)) for key, value in upper.items()}


# YAML


def read_yaml(file: Path) -> Written:
    """What the file says. Whatever is wrong with it as YAML is among the problems; nothing is raised."""
    try:
        return parse_yaml(file.read_bytes(), name=str(file))
    except OSError as error:
        return Written(problems=[Problem("", f"cannot read {file}: {(error.strerror or 'failed').lower()}")])


def parse_yaml(text: bytes | str, *, name: str, loc: Loc = ()) -> Written:
    written = Written()
    loader = yaml.SafeLoader(b"")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        built = _Builder(loader, written).build(node, loc) if node else None
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        where = f", line {at.line + 1}, column {at.column + 1}" if at else ""
        written.problems.append(Problem("", f"{name}{where}: not YAML: {error.problem or error.context}"))
    except yaml.reader.ReaderError as error:
        written.problems.append(Problem("", f"{name}: not YAML: {error.reason} at byte {error.position}"))
    except RecursionError:
        written.problems.append(Problem("", f"{name}: nested too deeply"))
    else:
        if isinstance(built, dict) or loc:
            written.values = built  # type: ignore[assignment]  # any value, where one setting is parsed
        elif built is not None:
            written.problems.append(Problem("", f"{name}: must be a mapping of settings at the top level"))
    finally:
        loader.dispose()
    return written


class _Builder:
    """Builds values from YAML nodes: scalars stay text, and no key is lost to a second one."""

    def __init__(self, loader: yaml.SafeLoader, written: Written) -> None:
        self._loader = loader
        self._written = written
        self._open: set[int] = set()

    def build(self, node: yaml.Node, loc: Loc) -> Any:
        if id(node) in self._open:
            return self._problem(node, loc, "refers to itself")
        self._open.add(id(node))
        try:
            match node:
                case _ if not node.tag.startswith("tag:yaml.org,2002:"):
                    return self._problem(node, loc, f"YAML tag {node.tag} means nothing here")
                case yaml.MappingNode():
                    return self._mapping(node, loc)
                case yaml.SequenceNode():
                    return [self.build(item, (*loc, index)) for index, item in enumerate(node.value)]
                case yaml.ScalarNode(tag="tag:yaml.org,2002:null"):
                    return None
                case yaml.ScalarNode(value=str(text), style=None):
                    return Plain(text)
            return node.value
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, loc, "a key must be text")
            elif key.value in lines:
                self._problem(
                    key, (*loc, key.value), f"written twice, first in line {lines[key.value]}; keep one"
                )
            else:
                lines[key.value] = line
        self._loader.flatten_mapping(node)  # `<<: *defaults`, which puts the inherited keys first
        values: dict[str, Any] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                at = (*loc, key.value)
                self._written.origins.setdefault(path_of(at), f"line {key.start_mark.line + 1}")
                values[key.value] = self.build(value, at)
        return values

    def _problem(self, node: yaml.Node, loc: Loc, message: str) -> None:
        line = node.start_mark.line + 1
        self._written.problems.append(Problem(path_of(loc), f"{message} (line {line})"))


# Environment


def read_environment(environ: Mapping[str, str], root: type[Group], file: Written) -> Written:
    """What the BRIDGE_ variables say; topics are those of the file. Nothing is raised."""
    written = Written()
    for variable, value in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS or _is_service_link(variable, value):
            continue
        loc, annotation = _place(variable, root, file.values)
        named_file = variable.endswith("_FILE") and _place(variable.removesuffix("_FILE"), root, file.values)
        if named_file and named_file[1] in {SecretStr, _Option}:
            loc = named_file[0]
            if variable.removesuffix("_FILE") in environ:
                written.problems.append(
                    Problem(variable, f"set {variable.removesuffix('_FILE')} or this one, not both")
                )
                continue
            try:
                value = Path(value).read_text("utf-8").removesuffix("\n")  # noqa: PLW2901
            except (OSError, UnicodeDecodeError) as error:
                reason = (error.strerror or "failed").lower() if isinstance(error, OSError) else "not UTF-8"
                written.problems.append(Problem(variable, _unreadable(variable, value, reason)))
        elif annotation is None:
            written.problems.append(Problem(variable, _unknown_variable(variable, root, file.values)))
            continue
        inner: Any = value if value else None
        if value and not _is_scalar(annotation) and not named_file:
            parsed = parse_yaml(value, name=variable, loc=loc)
            written.problems += parsed.problems
            inner = parsed.values
        for part in reversed(loc):
            inner = {part: inner}
        written.values = _merged(inner, written.values)
        written.origins[path_of(loc)] = variable
    return written


def _unreadable(variable: str, name: str, reason: str) -> str:
    # What does not begin as a path may be the secret itself, set by mistake where a file's name belongs.
    if name.startswith("/"):
        return f"cannot read {name}: {reason}"
    plain = variable.removesuffix("_FILE")
    return f"names no file that can be read: {reason}; for the secret itself set {plain}"


class _Option:
    """Stands for the type of a librdkafka option, which only librdkafka knows."""


def _place(variable: str, root: type[Group], file: Mapping[str, Any]) -> tuple[Loc, Any]:
    """Where a variable's setting is and its type; the type is None where there is no such setting."""
    loc: Loc = ()
    annotation: Any = root
    for segment in variable.removeprefix(PREFIX).split("__"):
        if is_group(annotation):
            key = annotation.key_of(segment)
            known = annotation.keys().get(key) if key else None
            annotation = bare(known.annotation) if known else _Option if key else None
        elif get_origin(annotation) is dict:
            topics = [name for name in file.get(str(loc[0])) or {} if _segment(name) == _segment(segment)]
            key = topics[0] if len(topics) == 1 else None
            annotation = get_args(annotation)[1] if key else None
        else:
            return loc, None
        if key is None:
            return loc, None
        loc = (*loc, key)
    return loc, annotation


def _segment(topic: str) -> str:
    """How a topic is written inside an environment variable: `orders.v1` is `ORDERS_V1`."""
    return re.sub(r"[^A-Z0-9]+", "_", topic.upper())


def _is_scalar(annotation: Any) -> bool:
    scalars = {str, int, float, bool, Path, SecretStr, _Option}
    return annotation in scalars or get_origin(annotation) is Literal


def _is_service_link(variable: str, value: str) -> bool:
    """Kubernetes puts BRIDGE_SERVICE_HOST and the like into every pod next to a Service named `bridge`."""
    name = r"BRIDGE_([A-Z0-9]+_)*"
    return "__" not in variable and (
        bool(re.fullmatch(rf"{name}SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)", variable))
        or bool(re.fullmatch(rf"{name}PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?", variable))
        or (variable.endswith("_PORT") and bool(re.match(r"(tcp|udp|sctp)://", value)))
    )


def _unknown_variable(variable: str, root: type[Group], file: Mapping[str, Any]) -> str:
    names = [f"{PREFIX}{name}" for name in _variables(root, file)]
    for group in root.keys():  # noqa: SIM118  # keys() here is a table of settings
        missing_underscore = f"{PREFIX}{group.upper()}_"
        if variable.startswith(missing_underscore) and not variable.startswith(missing_underscore + "_"):
            names.append(f"{missing_underscore}_{variable.removeprefix(missing_underscore)}")
    return f"no setting has this environment variable{did_you_mean(variable, names)}"


def _variables(annotation: Any, file: Mapping[str, Any]) -> Iterator[str]:
    for key, known in annotation.keys().items():
        inner = bare(known.annotation)
        if is_group(inner):
            yield from (f"{key.upper()}__{rest}" for rest in _variables(inner, file))
        elif get_origin(inner) is dict:
            rests = list(_variables(get_args(inner)[1], file)) if is_group(get_args(inner)[1]) else []
            yield from (
                f"{key.upper()}__{_segment(t)}__{rest}" for t in file.get(key) or {} for rest in rests
            )
        else:
            yield key.upper()
