"""Per-topic rules: a decoded record becomes an event. Pure; compiled and checked at start."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import partial
from types import NoneType

import orjson

from connector.code import Code
from connector.config.entry_rules import (
    Parts,
    Rule,
    detail_type_problem,
    resource_problem,
    source_problem,
    unicode_problem,
)
from connector.config.problems import did_you_mean
from connector.config.settings import DEFAULT_TARGET, Topic
from connector.errors import ConfigError, MappingError
from connector.mapping.event_code import MakeEvent, Templates, event_code
from connector.mapping.expressions import is_exact_json, is_number
from connector.mapping.results import CONSTANT_WHY, NUMBERS, Result, Types, constant, kinds, scope_of
from connector.mapping.templates import Compiler, Expression, Template
from connector.mapping.times import ReadTime, time_reader
from connector.model import Json

TEXTS: Types = frozenset({str, int})
"""What a lone expression may yield where text is wanted."""
SCALARS: Types = TEXTS | NUMBERS | {bool}
"""What an expression with text around it may yield."""
A_TEXT, A_SCALAR = "a string or an integer", "a string, a number or a boolean"


class Mapping:
    """How the records of one topic become events, by the rules of its configuration.

    `path` is where the topic stands in the configuration, as `topics.orders.v1`; messages begin
    with it. `name` is the topic's name, or None where a pattern stands for several; `targets` are the
    names of the targets; `scope` says more of the records than their formats do, as a schema does.
    Everything that would go wrong with every record is found at construction, EventBridge's limits
    included, as far as they concern what templates say for every record.

    An event of a record is not checked against those limits here. That is true of emptiness too: a
    template that yields an empty string makes an event with an empty source or detail type.

    Raises:
        ConfigError: with every problem of this topic's filter and event.
    """

    uses_key: bool
    """Whether any expression uses the record's key; where none does it is not decoded."""

    templates: Templates
    """What it is made of, for those who explain it."""

    code: Code
    """The function that makes events, as it was written for this topic."""

    event: MakeEvent
    """That function: the event of one record, or None when the filter drops it.

    It raises MappingError: template_null, template_type, template_failed, time_out_of_range, detail_invalid
    or detail_too_deep.
    """

    def __init__(
        self,
        topic: Topic,
        *,
        path: str,
        name: str | None = None,
        targets: Collection[str] = (DEFAULT_TARGET,),
        scope: Result | None = None,
    ) -> None:
        compiler = Compiler(scope or scope_of(topic, name=name))
        event, event_path = topic.event, f"{path}.event"
        target_path = f"{path}.target"

        kept = None if topic.filter is None else _filter(topic.filter, compiler, path=f"{path}.filter")
        if kept is not None:
            compiler.assume(kept)
        source = _text(event.source, source_problem, compiler, path=f"{event_path}.source")
        detail_type = _text(
            event.detail_type, detail_type_problem, compiler, path=f"{event_path}.detail_type"
        )
        time, time_path = None, f"{event_path}.time"
        read_time = time_reader(event.time_unit, shown=event.time or "", path=time_path)
        if event.time is not None:
            time = _time(event.time, read_time, compiler, path=time_path)
        resources = [
            _resource(resource, compiler, path=f"{event_path}.resources[{index}]")
            for index, resource in enumerate(event.resources)
        ]
        _check_detail(event.detail, compiler, path=f"{event_path}.detail")
        _check_metadata(event.detail, event.metadata, compiler, path=event_path)
        target = None
        if "${" in topic.target:
            rule = partial(target_problem, targets=targets)
            target = _text(topic.target, rule, compiler, path=target_path)
        if compiler.problems:
            raise ConfigError(compiler.problems)
        self.uses_key = "key" in compiler.roots
        self.templates = Templates(
            kept,
            source,
            detail_type,
            time,
            event.time_unit,
            read_time,
            resources,
            event.detail,
            event.metadata,
            target,
            by_path=compiler.templates,
            path=event_path,
            target_path=target_path,
            roots=frozenset(compiler.roots),
        )
        self.code = event_code(self.templates)
        self.event = self.code.function()


# --- filter, source, detail_type ----------------------------------------------------------------


def _filter(source: str, compiler: Compiler, *, path: str) -> Expression | None:
    if source.lstrip().startswith("${"):
        compiler.refuse(path, "a filter is one expression; write it without ${ }")
        return None
    expression = compiler.expression(source, path=path)
    result = expression.result
    since = f": {result.why}" if result.why and result.why != CONSTANT_WHY else ""
    if not result.types:
        compiler.refuse(path, f"{expression.shown} fails for every record{since}")
    elif result.truth is True:
        message = (
            f"{expression.shown} is true for every record, so that it keeps all{since}. Leave `filter` out"
        )
        is_number = result.types <= NUMBERS
        advice = (
            "compare it, since a number is true, also 0" if is_number else "compare a field of the record"
        )
        compiler.refuse(path, f"{message}, or {advice}")
    elif result.truth is False:
        message = (
            f"{expression.shown} is false for every record, so that it drops all{since}. Compare a field"
        )
        compiler.refuse(path, f"{message} of the record with what it can be")
    return expression


def _text(text: str, rule: Rule, compiler: Compiler, *, path: str) -> Template:
    """A field that must be text: a lone expression may yield a string or an integer."""
    template = compiler.template(text, path=path)
    _check(template, compiler, path=path, rule=rule)
    return template


def target_problem(parts: Parts, *, targets: Collection[str]) -> str | None:
    """The rule of a target's name: there is one of that name."""
    form = "".join(".*" if part is None else re.escape(part) for part in parts)
    if any(re.fullmatch(form, target, re.DOTALL) for target in targets):
        return None
    fixed = "".join(part or "…" for part in parts)
    return f"there is no target {fixed}; known: {', '.join(targets)}{did_you_mean(fixed, targets)}"


# --- what is wrong for every record -------------------------------------------------------------


def _check(
    template: Template,
    compiler: Compiler,
    *,
    path: str,
    lone: Types = TEXTS,
    wanted: str = A_TEXT,
    rule: Rule = unicode_problem,
) -> None:
    """Find what keeps a text from being right for any record.

    `lone` are the types that one expression with no text around it may yield, and `wanted` says so.
    """
    is_lone = len(template) == 1
    accepted, wanted = (lone, wanted) if is_lone else (SCALARS, A_SCALAR)
    known = len(compiler.problems)
    for part in template:
        if isinstance(part, Expression) and (complaint := _complaint(part.result, accepted, wanted)):
            compiler.refuse(path, f"{part.shown} {complaint}")
    if template and len(compiler.problems) == known and (complaint := rule(_parts(template))):
        compiler.refuse(path, complaint)


def _complaint(result: Result, accepted: Types, wanted: str) -> str | None:
    """What is wrong with a result that never has one of the accepted types, and what to write."""
    if result.types & accepted:
        return None
    why = f": {result.why}" if result.why else ""
    if not result.types:
        return f"fails for every record{why}"
    if result.types == {NoneType}:
        return f"is null for every record{why}. Name a field that records have"
    advice = "Write to_string(…) around it"
    if result.types == {dict}:
        advice = "Name one of its fields, as `.id`"
    elif result.types == {list}:
        advice = "Pick an item with `[0]`, or write join(', ', …) around it"
    return f"is {kinds(result.types)} for every record{why}. It must be {wanted}. {advice}"


def _parts(template: Template) -> list[str | None]:
    """What is known of the text that a template makes."""
    parts: list[str | None] = []
    for part in template:
        text: str | None = None
        if isinstance(part, str):
            text = part
        elif part.result.constant:
            (value,) = part.result.constant
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
        if parts and text is not None and parts[-1] is not None:
            parts[-1] += text
        else:
            parts.append(text)
    return parts


# --- resources ----------------------------------------------------------------------------------


def _resource(text: str, compiler: Compiler, *, path: str) -> Template:
    """One resource; a lone expression may yield a list of them."""
    template = compiler.template(text, path=path)
    match template:
        case (Expression() as expression,):
            _check_resources(expression, compiler, path=path)
        case _:
            _check(template, compiler, path=path, rule=resource_problem)
    return template


def _check_resources(expression: Expression, compiler: Compiler, *, path: str) -> None:
    """A lone expression may yield one resource, or an array of them."""
    result, shown = expression.result, expression.shown
    if list not in result.types or result.types & TEXTS:
        wanted = f"{A_TEXT}, or an array of them"
        _check((expression,), compiler, path=path, lone=TEXTS | {list}, wanted=wanted, rule=resource_problem)
        return
    items = list(result.inside.values())
    if result.constant and isinstance(result.constant[0], list):
        items = [constant(item) for item in result.constant[0]]
    for number, item in enumerate(items, start=1):
        complaint = _complaint(item, TEXTS, A_TEXT)
        if complaint is None and item.constant:
            complaint = resource_problem([str(item.constant[0])])
        if complaint:
            compiler.refuse(path, f"{shown}: item {number} {complaint}")


# --- time ---------------------------------------------------------------------------------------


def _time(text: str, read: ReadTime, compiler: Compiler, *, path: str) -> Template:
    """Unix time in seconds, which `read` makes of text in ISO 8601 or a number."""
    template = compiler.template(text, path=path)
    known = len(compiler.problems)
    _check(template, compiler, path=path, lone=TEXTS | NUMBERS, wanted="ISO 8601 text or a number")
    if len(compiler.problems) == known:
        _try_fixed_time(template, read, compiler, path=path)
    return template


def _try_fixed_time(template: Template, read: ReadTime, compiler: Compiler, *, path: str) -> None:
    """Refuse a time that is wrong, and the same for every record."""
    fixed: Json = None
    match template, _parts(template):
        case (Expression(result=Result(constant=(constant_value,))),), _:
            fixed = constant_value
        case _, [str(text)]:
            fixed = text
    if isinstance(fixed, str) or is_number(fixed):
        try:
            read(fixed)
        except MappingError as error:
            compiler.refuse(path, str(error).removeprefix(f"{path}: ").removesuffix("."))


# --- detail -------------------------------------------------------------------------------------


def _check_detail(node: Json, compiler: Compiler, *, path: str) -> None:
    """Compile templates nested in mappings and lists at any depth; keys and other scalars are literal."""
    match node:
        case str():
            template = compiler.template(node, path=path)
            match template:
                case (Expression() as expression,):
                    _check_value(expression, compiler, path=path)
                case _:
                    _check(template, compiler, path=path)
        case dict():
            for key, child in node.items():
                _check_detail(child, compiler, path=f"{path}.{key}")
        case list():
            for index, child in enumerate(node):
                _check_detail(child, compiler, path=f"{path}[{index}]")
        case _ if not is_exact_json(node):
            message = (
                "JSON cannot carry this number: it is not finite, or an integer beyond 64 bit; "
                "write it as text"
            )
            compiler.refuse(path, message)


def _check_value(expression: Expression, compiler: Compiler, *, path: str) -> None:
    """A value of the detail may be anything, but not a field of what has none."""
    result, shown = expression.result, expression.shown
    if not result.types:
        compiler.refuse(path, f"{shown} fails for every record: {result.why}")
    elif result.types == {NoneType} and result.why != CONSTANT_WHY:
        compiler.refuse(path, f"{shown} {_complaint(result, frozenset(), '')}")


def _check_metadata(node: Json, metadata: str | None, compiler: Compiler, *, path: str) -> None:
    """Refuse a detail that surely has the key that the metadata gets."""
    if metadata is None:
        return
    taken = node.keys() if isinstance(node, dict) else {"value"}
    if isinstance(node, str):
        match compiler.templates.get(f"{path}.detail"):
            case (Expression(result=result),) if dict in result.types:
                value = result.constant[0] if result.constant else result.inside
                taken = value.keys() if isinstance(value, dict) and result.types == {dict} else set()
    if metadata in taken:
        compiler.refuse(
            f"{path}.detail",
            f"has the key `{metadata}` for every record, and the bridge adds one of that name. Rename it, or "
            "choose another name for `metadata`, or null for none",
        )
    elif complaint := unicode_problem([metadata]):
        compiler.refuse(f"{path}.metadata", complaint)
