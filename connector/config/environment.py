"""Environment variables and secret files, laid over what the YAML file says.

Everything written is text until a setting gives it a type: `acks: 1`, `acks: "1"` and
`BRIDGE_KAFKA__ACKS=1` are the same three characters. So nothing is lost on the way (`0123` keeps its
zero, `NO` is not false), and the file and the environment cannot disagree about what a value means.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import SecretStr

from connector.config.problems import Group, Loc, bare, did_you_mean, is_group, path_of
from connector.config.yaml_file import Written, merged, parse_yaml
from connector.errors import Problem, why_failed

PREFIX = "BRIDGE_"
NOT_SETTINGS = {"BRIDGE_CONFIG"}
_LIKE_OURS = re.compile(r"((KAFKA_)?PARTNER_)?BRIDGE_", re.IGNORECASE)
"""How names begin that can be meant for the bridge only."""
_KAFKA = r"KAFKA__|KAFKA_(?=(SASL|SSL|SECURITY)_)"
"""How names begin that are keys of a Kafka client; KAFKA_HOME and the like belong to Kafka itself."""


# Environment


def read_environment(environ: Mapping[str, str], root: type[Group], file: Written) -> Written:
    """The settings in the BRIDGE_ variables; topics are those of the file. Nothing is raised.

    A name that can only be meant so, and is not read for its case or prefix, is a problem too.
    """
    written = Written()
    written.problems += [
        Problem(variable, f"is not read: names are in capitals and begin with {PREFIX}; write {meant}")
        for variable, meant, _, is_ours in unread_variables(environ, root, file.values)
        if is_ours
    ]
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
                reason = why_failed(error) if isinstance(error, OSError) else "not UTF-8"
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


class UnreadVariable(NamedTuple):
    """A variable that looks like a setting's, and is not read."""

    variable: str
    meant: str
    """The variable of the setting."""
    path: str
    """The setting, as `kafka.group.id`."""
    is_ours: bool
    """Whether no other program can be meant."""


def unread_variables(
    environ: Mapping[str, str], root: type[Group], names: Mapping[str, Any]
) -> list[UnreadVariable]:
    """The variables that name a setting but for prefix, case or underscores: `KAFKA__GROUP__ID`.

    `names` has the topics and targets, by `topics` and `targets`. One word is too little to tell (`NAME`,
    `HTTP`), and where the right variable is set, too, another may belong to another program.
    """
    known = _by_bare_name(root, names)
    found = []
    for variable, value in sorted(environ.items()):
        if variable.startswith(PREFIX):
            continue
        ours = _LIKE_OURS.match(variable)
        rest = variable[ours.end() :] if ours else variable
        if _is_service_link(PREFIX + rest, value):
            continue
        meant = _meant(rest, known)
        if meant is None and "__" in variable:
            if ours:  # bridge_htp__port
                close = difflib.get_close_matches(_segment(rest), known, n=1, cutoff=0.8)
                meant = known[close[0]] if close else None
            else:  # BRIGDE_KAFKA__GROUP_ID, APP_KAFKA__GROUP_ID
                meant = _meant(rest.partition("_")[2], known)
        if meant and meant not in environ and (ours or "_" in meant.removeprefix(PREFIX)):
            path = path_of(_place(meant, root, names)[0])
            found.append(UnreadVariable(variable, meant, path, is_ours=bool(ours)))
    return found


def _unknown_variable(variable: str, root: type[Group], file: Mapping[str, Any]) -> str:
    known = _by_bare_name(root, file)
    if meant := _meant(variable.removeprefix(PREFIX), known, of_librdkafka=r"KAFKA_+"):
        return f"no setting has this environment variable; did you mean '{meant}'?"
    return f"no setting has this environment variable{did_you_mean(variable, known.values())}"


def _meant(name: str, known: Mapping[str, str], *, of_librdkafka: str = _KAFKA) -> str | None:
    """The variable that has this name but for prefix, case and underscores.

    After what `of_librdkafka` matches, any name may be one of librdkafka's keys.
    """
    if meant := known.get(_segment(name)):
        return meant
    if key := re.match(of_librdkafka, name, re.IGNORECASE):
        return f"{PREFIX}KAFKA__{_segment(name[key.end() :])}"
    return None


def _by_bare_name(root: type[Group], names: Mapping[str, Any]) -> dict[str, str]:
    """Every variable, by its name without prefix and with single underscores."""
    return {_segment(name): f"{PREFIX}{name}" for name in ["CONFIG", *_variables(root, names)]}


def _variables(group: type[Group], names: Mapping[str, Any]) -> Iterator[str]:
    """The names that variables may have, without prefix; of librdkafka's keys those the bridge describes."""
    fields = group.keys()
    for key in group.described_keys():
        inner = bare(fields[key].annotation) if key in fields else _Option
        name = _segment(key)
        yield name
        if inner is SecretStr:
            yield f"{name}_FILE"
        elif is_group(inner):
            yield from (f"{name}__{rest}" for rest in _variables(inner, names))
        elif get_origin(inner) is dict and is_group(member := get_args(inner)[1]):
            for each in names.get(key) or {}:
                yield from (f"{name}__{_segment(each)}__{rest}" for rest in _variables(member, names))
