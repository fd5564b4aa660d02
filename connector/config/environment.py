"""Environment variables and secret files, laid over what the YAML file says.

Everything written is text until a setting gives it a type: `acks: 1`, `acks: "1"` and
`BRIDGE_KAFKA__ACKS=1` are the same three characters. So nothing is lost on the way (`0123` keeps its
zero, `NO` is not false), and the file and the environment cannot disagree about what a value means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr

from connector.config.problems import Group, Loc, bare, did_you_mean, is_group, path_of
from connector.config.yaml_file import Written, merged, parse_yaml
from connector.errors import Problem

PREFIX = "BRIDGE_"
NOT_SETTINGS = {"BRIDGE_CONFIG"}


# Environment


def read_environment(environ: Mapping[str, str], root: type[Group], file: Written) -> Written:
    """The settings in the BRIDGE_ variables; topics are those of the file. Nothing is raised."""
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
        written.values = merged(inner, written.values)
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
    """A topic's name inside an environment variable: `orders.v1` is `ORDERS_V1`."""
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
