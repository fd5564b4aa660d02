"""Templates: text with `${JMESPath}` in it, checked and compiled once, then safe to run on any record.

Nothing of the configuration is ever executed as code; in what `event_code` writes it stands as literals.
https://jmespath.org/specification.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import jmespath
from jmespath import functions
from jmespath.exceptions import (
    EmptyExpressionError,
    IncompleteExpressionError,
    LexerError,
    ParseError,
)

from connector.config.problems import did_you_mean
from connector.errors import Problem
from connector.mapping.conditions import assuming
from connector.mapping.expressions import ROOTS, Evaluate, Node, chain, compile_node, guard, is_exact_json
from connector.mapping.inference import result_of
from connector.mapping.results import ANYTHING, Result
from connector.model import Json


@dataclass(frozen=True, slots=True)
class Expression:
    """One compiled JMESPath expression.

    `evaluate` raises MappingError (template_failed) when a function gets a value of a type that it
    does not take, and nothing else.
    """

    shown: str
    """The expression as the configuration has it, for messages."""
    evaluate: Evaluate
    node: Node
    """The expression in jmespath's syntax tree, which says the same."""
    result: Result = ANYTHING
    """What it can yield; ANYTHING also where it is broken, so that nothing more is said of it."""


Template: TypeAlias = "tuple[str | Expression, ...]"
"""Text and expressions in turn; a template that is one expression has one part."""


def may_make(template: Template, text: str) -> bool:
    """Whether a template makes this text for some record, as far as its fixed parts say."""
    pattern = "".join(re.escape(part) if isinstance(part, str) else ".*" for part in template)
    return re.fullmatch(pattern, text, re.DOTALL) is not None


class Compiler:
    """Compiles the expressions of one topic, and gathers what is wrong with them and what they read.

    `scope` says what is known of the roots. Nothing raises: a broken expression becomes one that is
    always null, and an entry in `problems`.
    """

    def __init__(self, scope: Result = ANYTHING) -> None:
        self._scope = scope
        self.problems: list[Problem] = []
        self.roots: set[str] = set()
        """The names of `ROOTS` that any expression uses."""
        self.templates: dict[str, Template] = {}
        """What was compiled, by the place of its text in the configuration; without what is not closed."""

    def template(self, text: str, *, path: str) -> Template:
        r"""Compiles text with `${JMESPath}` in it; `\${` stands for the two characters themselves.

        `path` is where the text stands in the configuration.
        """
        parts: list[str | Expression] = []
        literal, position = "", 0
        while opening := OPENING.search(text, position):
            literal += text[position : opening.start()]
            position = opening.end()
            if opening[0] != "${":
                literal += "${"
                continue
            closing = _closing_brace(text, position)
            if isinstance(closing, _Unclosed):
                self._complain(path, closing.message, shown=text, column=closing.position + 1)
                return ()
            if literal:
                parts.append(literal)
                literal = ""
            source = text[position:closing]
            parts.append(self.expression(source, path=path, shown=f"${{{source}}}", column=position + 1))
            position = closing + 1
        literal += text[position:]
        template = (*parts, literal) if literal else tuple(parts)
        self.templates[path] = template
        return template

    def expression(self, source: str, *, path: str, shown: str | None = None, column: int = 1) -> Expression:
        """Compiles one JMESPath expression, which begins at `column` of the setting at `path`."""
        shown = source if shown is None else shown
        try:
            tree = jmespath.compile(source).parsed
            survey = list(_survey(tree))
            mistakes = list(_mistakes(survey, source))
            for search, message in mistakes:
                offset = max(source.find(search), 0)
                self._complain(path, message, shown=shown, column=column + offset)
            roots = set(_roots(survey))
            self.roots |= roots
            if mistakes:
                return _broken(shown)
            result = result_of(tree, self._scope)
            if result.constant and roots <= {"topic"}:
                (value,) = result.constant
                return Expression(shown, lambda _: value, _literal(value), result)
            result = replace(result, constant=())  # for some records it may fail instead
            evaluate = compile_node(tree)
            if chain(tree) is None:
                evaluate = guard(evaluate, path=path, shown=shown)
            return Expression(shown, evaluate, tree, result)
        except (ValueError, RecursionError) as error:
            offset, message = _syntax_error(error, source)
            self._complain(path, message, shown=shown, column=column + offset)
        return _broken(shown)

    def assume(self, kept: Expression) -> None:
        """Take it for known, from here on, that this expression is true: the filter keeps nothing else."""
        self._scope = assuming(self._scope, kept.node, truth=True)

    def refuse(self, path: str, message: str) -> None:
        """Adds a problem of the setting at `path`."""
        self.problems.append(Problem(path, message))

    def _complain(self, path: str, message: str, *, shown: str, column: int) -> None:
        self.refuse(path, f"{shown}, column {column}: {message}")


def _broken(shown: str) -> Expression:
    return Expression(shown, lambda _: None, _literal(None))


def _literal(value: Json) -> Node:
    return Node(type="literal", value=value, children=[])


# --- text ---------------------------------------------------------------------------------------

OPENING = re.compile(r"\\?\$\{")
BRACKET = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`|[{}'"`]""", re.DOTALL)
"""The parts that decide where an expression ends: braces, and quoted text, which may hold braces."""


@dataclass(frozen=True, slots=True)
class _Unclosed:
    position: int
    message: str


def _closing_brace(text: str, start: int) -> int | _Unclosed:
    depth = 0
    for bracket in BRACKET.finditer(text, start):
        match bracket[0]:
            case "{":
                depth += 1
            case "}" if depth == 0:
                return bracket.start()
            case "}":
                depth -= 1
            case "'" | '"' | "`" as quote:
                return _Unclosed(bracket.start(), f"the {quote} that opens here is never closed")
    return _Unclosed(start - 2, r"this ${ is never closed by a }; for a literal one write \${")


# --- checks at start ----------------------------------------------------------------------------


def _syntax_error(error: ValueError | RecursionError, source: str) -> tuple[int, str]:
    """Where in the expression, and what to say."""
    match error:
        case LexerError():
            position, message = error.lexer_position, error.message
        case IncompleteExpressionError() | ParseError(token_type="EOF"):
            return len(source), "not JMESPath: it ends too early"
        case ParseError():
            position, message = error.lex_position, f"{error.token_value} cannot stand here"
        case RecursionError():
            return 0, "the expression nests too deeply"
        case EmptyExpressionError():
            return 0, "the expression is empty"
        case _:
            return 0, "not JMESPath: a number has too many digits"
    fix = _fix(source, position)
    return position, f"not JMESPath: {message}{f'; {fix}' if fix else ''}"


_OPERAND_COMES = re.compile(r"(==|!=|<=?|>=?|\|\||&&|[,(:])\s*\Z")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?(?!\w)")
_NAME = re.compile(r"[\w$#@-]+")
_WORDS = {"and": "`&&`", "or": "`||`", "not": "`!`", "in": "contains(array, item)"}
_SIGNS = [
    (re.compile(r"==?"), "write `==` for equality"),
    (re.compile(r"&"), "write `&&` for a logical and"),
    (re.compile(r"[+/%*-]"), "JMESPath does not calculate; to put texts together write join('', [a, b])"),
    (re.compile(r"\?"), "for a condition write `condition && 'this' || 'that'`"),
    (re.compile(r"[“”‘’„´]"), "text stands between straight single quotes, as 'text'"),
    (re.compile(r"\$"), f"an expression begins with one of {', '.join(ROOTS)}"),
]


def _fix(source: str, position: int) -> str | None:
    """What to write instead of that which is no JMESPath at this place; None where it is hard to guess."""
    before, rest = source[:position], source[position:]
    if _OPERAND_COMES.search(before) and (number := _NUMBER.match(rest)):
        return f"write numbers in backquotes: `{number[0]}`"
    if before.endswith("<") and rest.startswith(">"):
        return "write `!=` for inequality"
    if before.endswith("[") and (quoted := re.match(r"""(['"])(.*?)\1""", rest)):
        return f'write the field behind a dot: ."{quoted[2]}"'
    for word, instead in _WORDS.items():
        if re.match(rf"{word}\b", rest) or re.search(rf"\b{word}\s+\Z", before):
            return f"write {instead} for `{word}`"
    for name in _NAME.finditer(source):
        is_inside = name.start() <= position < name.end() and re.search(r"\w", name[0])
        if is_inside and not (before.endswith(" ") and name.start() == position):
            return f'quote a name that has more in it than letters, digits and _: "{name[0]}"'
    return next((fix for sign, fix in _SIGNS if sign.match(rest)), None)


def _survey(node: Node, *, at_root: bool = True) -> Iterator[tuple[Node, bool]]:
    """Every node, parents first, and whether it uses the scope itself rather than a part of it."""
    yield node, at_root
    # Of a slice the children are numbers.
    children = [child for child in node["children"] if isinstance(child, dict)]
    match node["type"]:
        case "subexpression" | "index_expression" | "pipe":
            for child in children:
                yield from _survey(child, at_root=at_root)
                at_root = at_root and child["type"] in {"current", "identity"}
        case "projection" | "value_projection" | "filter_projection":
            yield from _survey(children[0], at_root=at_root)
            for child in children[1:]:
                yield from _survey(child, at_root=False)
        case kind:
            for child in children:
                yield from _survey(child, at_root=at_root and kind != "expref")


def _roots(survey: Iterable[tuple[Node, bool]]) -> Iterator[str]:
    for node, at_root in survey:
        if at_root and node["type"] == "field":
            yield str(node["value"])
        elif at_root and node["type"] in {"current", "identity"}:
            yield from ROOTS


def _mistakes(survey: Iterable[tuple[Node, bool]], source: str) -> Iterator[tuple[str, str]]:
    """Mistakes that fail for every record: the text to point at, and what to say."""
    table = functions.Functions.FUNCTION_TABLE
    arguments: set[int] = set()
    for node, at_root in survey:
        name = str(node.get("value"))
        match node["type"]:
            case "field" if at_root and name not in ROOTS:
                yield name, f"unknown name '{name}'{_instead_of_name(name, source)}"
            case "function_expression" if name not in table:
                hint = did_you_mean(name, table) or f"; it has {', '.join(table)}"
                yield name, f"JMESPath has no function '{name}'{hint}"
            case "function_expression":
                if complaint := _call_mistake(node, table[name]["signature"]):
                    yield name, f"{name}() {complaint}"
                arguments.update(id(child) for child in node["children"])
            case "expref" if id(node) not in arguments:
                yield "&", "&expression is only for functions such as sort_by()"
            case "slice" if str(node["children"][-1]) == "0":
                yield "[", "the step of a slice cannot be 0"
            case "literal" if not is_exact_json(node["value"]):
                yield "`", "JSON cannot carry this literal: numbers are finite, and integers have 64 bit"


def _instead_of_name(name: str, source: str) -> str:
    if hint := did_you_mean(name, ROOTS):
        return hint
    if name in {"true", "false", "null"}:
        return f"; write `{name}` in backquotes"
    if f'"{name}"' in source:
        return f"; double quotes are for names, text stands in single ones: '{name}'"
    return f"; known here: {', '.join(ROOTS)}; for text write '{name}'"


def _call_mistake(call: Node, signature: Sequence[dict[str, object]]) -> str | None:
    given, wanted = len(call["children"]), len(signature)
    variadic = bool(signature[-1].get("variadic"))
    if given < wanted or (given > wanted and not variadic):
        plural = "argument" if wanted == 1 else "arguments"
        return f"takes {'at least ' if variadic else ''}{wanted} {plural}, and is given {given}"
    for index, argument in enumerate(call["children"]):
        takes_expression = signature[min(index, wanted - 1)]["types"] == ["expref"]
        if takes_expression != (argument["type"] == "expref"):
            must = "must be" if takes_expression else "cannot be"
            return f"argument {index + 1} {must} an &expression"
    return None
