"""The result of an expression, from its syntax tree and what is known of what it is applied to.

Where `||`, `&&` or a filter decides whether something is evaluated, what they found is known there: in
`value.a && value.a.b` the second `value.a` is not null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import NoneType
from typing import NamedTuple

from jmespath import functions

from connector.config.problems import did_you_mean
from connector.mapping.calls import (
    contains_complaint,
    evaluated,
    literal,
    possible_complaint,
    result_of_call,
    type_complaint,
)
from connector.mapping.conditions import MAX_DEPTH, assuming
from connector.mapping.expressions import COMPARISONS, Node, chain
from connector.mapping.results import (
    ANYTHING,
    CONSTANT_WHY,
    NUMBERS,
    Result,
    Types,
    any_of,
    constant,
    item_of,
    kinds,
    never,
    null,
    size_of,
    some,
    union,
    why_null,
)


class Remark(NamedTuple):
    """Something in an expression that is wrong by what a schema says, whatever the whole yields."""

    node: int
    """Which node of the syntax tree it is about: its id."""
    message: str
    is_decisive: bool
    """Whether it is wrong for records of one schema, also where those of another schema are in order."""


def result_of(node: Node, current: Result) -> Result:
    """What a node of jmespath's syntax tree yields, where `current` is what it is applied to."""
    return Inference().result(node, current)


class Inference:
    """Finds results, and remarks on what it comes by."""

    def __init__(self) -> None:
        self.remarks: list[Remark] = []
        self._guards = 0
        """Operators around, for which null is in order."""
        self._depth = 0
        """Operators around, for which what one operand found is known in the other."""

    def result(self, node: Node, current: Result) -> Result:
        """What a node of jmespath's syntax tree yields, where `current` is what it is applied to."""
        children: Sequence[Node] = node["children"]
        match node["type"]:
            case "literal":
                return constant(node["value"])
            case "current" | "identity":
                return current
            case "field" | "index" if isinstance(step := node["value"], str | int):
                self._remark_on_step(node, step, current)
                return current.at(step)
            case "subexpression" | "index_expression" | "pipe":
                for child in children:
                    if not current.types:
                        break
                    current = self.result(child, current)
                return current
            case "or_expression":
                first, second = children
                return self._or(first, second, current)
            case "and_expression":
                first, second = children
                return self._and(first, second, current)
            case "not_expression":
                negated = self.result(children[0], current)
                if not negated.types:
                    return negated
                if negated.truth is None:
                    return _boolean("`!` yields true or false (it binds closer than a dot: !(a.b))", negated)
                return constant(not negated.truth, why=negated.why)
            case "comparator":
                left, right = (self.result(child, current) for child in children)
                return self._compared(node, left, right)
            case "multi_select_list" | "multi_select_dict":
                return self._selected(node, current)
            case "projection" | "flatten" | "filter_projection" | "value_projection" | "slice":
                return self._projected(node, current)
            case "function_expression":
                self._guards += node["value"] == "not_null"
                arguments = [
                    None if each["type"] == "expref" else self.result(each, current) for each in children
                ]
                self._guards -= node["value"] == "not_null"
                return self._called(node, arguments)
        return ANYTHING

    def _remark(self, node: Node, message: str, *, is_decisive: bool = True) -> None:
        remark = Remark(id(node), message, is_decisive)
        if remark not in self.remarks:
            self.remarks.append(remark)

    def _remark_on_step(self, node: Node, step: str | int, current: Result) -> None:
        if isinstance(step, str) and (lack := current.lacks(step)):
            known = {str(name) for option in current.options or (current,) for name in option.inside}
            self._remark(node, f"{lack}{did_you_mean(step, known)}", is_decisive=not self._guards)
        elif current.possible and not current.constant:
            container, words = (list, "items") if isinstance(step, int) else (dict, "fields")
            if container not in current.types and current.types != {NoneType}:
                message = f"{current}, which has no {words}"
                self._remark(node, message, is_decisive=not self._guards)

    def _remark_on_call(self, node: Node, message: str, argument: Result) -> None:
        if argument.possible and not argument.constant:
            self._remark(node, f"{message}; such records are dead-lettered (template_failed)")

    # Operators

    def _or(self, first: Node, second: Node, current: Result) -> Result:
        self._guards += 1
        left, right, kept = self._operands(first, second, current, truth=True)
        self._guards -= 1
        if right.constant == (None,) and chain(second) and not left.types & {NoneType, bool}:
            # A field that this version lacks is there for another one, and not for an empty text in this.
            right = replace(right, possible={})
        elif float in left.possible and NoneType not in left.possible and left.types <= NUMBERS | {NoneType}:
            # It counts where the first is NaN, if ever.
            right = replace(right, possible={}, texts=(), only_texts=False)
        if not left.types or left.truth is True:
            return left
        return right if left.truth is False or not kept.types else union(kept, right)

    def _and(self, first: Node, second: Node, current: Result) -> Result:
        left, right, kept = self._operands(first, second, current, truth=False)
        if not left.types or left.truth is False:
            return left
        return right if left.truth is True or not kept.types else union(kept, right)

    def _operands(
        self, first: Node, second: Node, current: Result, *, truth: bool
    ) -> tuple[Result, Result, Result]:
        """What both yield, the second where the first does not decide; and the first where that decides."""
        self._depth += 1
        left = self.result(first, current)
        if self._depth > MAX_DEPTH:
            right, kept = self.result(second, current), left.where(truth=truth)
        else:
            right = self.result(second, assuming(current, first, truth=not truth))
            kept = self._where(first, current, truth=truth)
        self._depth -= 1
        return left, right, replace(kept, why="")

    def _where(self, node: Node, current: Result, *, truth: bool) -> Result:
        """What a node yields where that is true, or false; with no types where it never is."""
        match node["type"], node["children"]:
            case "or_expression" | "and_expression" as kind, [first, second] if self._depth <= MAX_DEPTH:
                ends = kind == "or_expression"
                self._depth += 1
                left = self._where(first, current, truth=ends) if truth is ends else never("")
                right = self._where(second, assuming(current, first, truth=not ends), truth=truth)
                self._depth -= 1
                return any_of(left, right)
        return self.result(node, current).where(truth=truth)

    def _compared(self, node: Node, left: Result, right: Result) -> Result:
        name = str(node["value"])
        if not left.types or not right.types:
            return right if left.types else left
        sign = SIGNS[name]
        if left.constant and right.constant:
            found = COMPARISONS[name](left.constant[0], right.constant[0])
            of_record = left if left.why != CONSTANT_WHY else right
            return constant(found, why=of_record.why)
        shared = _comparable(left.types) & _comparable(right.types)
        if name in {"eq", "ne"}:
            if shared == {str} and (why := _why_unequal(sign, left, right)):
                if _is_no_symbol(left, right) or _is_no_symbol(right, left):
                    self._remark(node, why, is_decisive=False)
                return constant(name == "ne", why=why)
            if shared:
                made = _boolean(f"`{sign}` yields true or false", left, right)
                is_sure = _comparable(frozenset(left.possible)) & _comparable(frozenset(right.possible))
                return made if is_sure else replace(made, possible={})
            why = f"`{sign}` compares {kinds(left.types)} with {kinds(right.types)}, which are never equal"
            return constant(name == "ne", why=why_null(left, right) or why)
        if not shared & {str, int}:
            why = (
                f"`{sign}` compares numbers with numbers and strings with strings, and has "
                f"{kinds(left.types)} and {kinds(right.types)}"
            )
            return constant(None, why=why_null(left, right) or why)
        if any(left.types | right.types <= kind for kind in ({str}, NUMBERS)):
            return _boolean(f"`{sign}` yields true or false", left, right)
        made = _boolean(f"`{sign}` yields true, false or null", left, right)
        made = replace(made, types=made.types | {NoneType})
        whys = [
            why for each in (left, right) for kind, why in each.possible.items() if kind is NoneType and why
        ]
        return replace(made, possible={**made.possible, NoneType: whys[0]}) if whys else made

    # What has several parts

    def _selected(self, node: Node, current: Result) -> Result:
        """Of `[a, b]` and `{x: a}`, which yield null where they are applied to null."""
        if current.types == {NoneType}:
            return current
        is_object = node["type"] == "multi_select_dict"
        found: dict[str | int, Result] = {}
        for index, child in enumerate(node["children"]):
            result = self.result(child["children"][0] if is_object else child, current)
            if not result.types:
                return result if NoneType not in current.types else union(constant(None), result)
            found[str(child["value"]) if is_object else index] = result
        if NoneType not in current.types and all(result.constant for result in found.values()):
            values = {key: result.constant[0] for key, result in found.items()}
            return constant(
                {str(key): value for key, value in values.items()} if is_object else list(values.values())
            )
        kind = dict if is_object else list
        why = "`{…}` makes an object" if is_object else "`[…]` makes an array"
        made = Result(
            frozenset({kind}),
            why,
            truth=True,
            inside=found,
            rest=constant(None, why="it is made here without that"),
            possible={kind: why},
            size=size_of(found),
        )
        return (
            made if NoneType not in current.types else union(made, null(current.possible.get(NoneType, "")))
        )

    def _projected(self, node: Node, current: Result) -> Result:
        if node["type"] == "slice":
            base, rest = current, None
        else:
            base, rest = self.result(node["children"][0], current), node["children"][1:]
        if not base.types:
            return base
        container, sign = (dict, ".*") if node["type"] == "value_projection" else (list, "[…]")
        is_for = f"and `{sign}` is for {'objects' if container is dict else 'arrays'}"
        if container not in base.types:
            if base.types == {NoneType}:
                return base
            return constant(None, why=f"{base}, {is_for}")
        if base.constant:
            if rest is None:
                return evaluated(node, base.constant[0])
            return evaluated({**node, "children": [literal(base.constant[0]), *rest]})
        why = f"`{sign}` yields an array"
        item = self._item(node, item_of(base.only(frozenset({container}))))
        # It leaves out nulls, so that it may have no items.
        kept = item if node["type"] in {"slice", "flatten"} else item.only(item.types - {NoneType})
        made = some(list, why=why, rest=kept if kept.types else null())
        if base.possible:
            made = replace(made, possible={list: why})
        others = {kind: why for kind, why in base.possible.items() if kind is not container}
        why = others.get(NoneType) or (f"it may be {kinds(others)}, {is_for}" if others else "")
        return made if base.types == {container} else union(made, null(why))

    def _item(self, node: Node, item: Result) -> Result:
        """What a projection makes of one item."""
        match node["type"], node["children"]:
            case "flatten", _:
                return item_of(item) if item.types == {list} else ANYTHING if list in item.types else item
            case "projection" | "value_projection", [_, applied]:
                return self.result(applied, item)
            case "filter_projection", [_, applied, condition]:
                self.result(condition, item)
                return self.result(applied, assuming(item, condition, truth=True))
        return item

    # Functions

    def _called(self, node: Node, arguments: Sequence[Result | None]) -> Result:
        """Of a function call; None stands for an &expression."""
        name = str(node["value"])
        signature = functions.Functions.FUNCTION_TABLE[name]["signature"]
        given = [argument for argument in arguments if argument is not None]
        if failing := [argument for argument in given if not argument.types]:
            return failing[0]
        # jmespath checks the types of as many arguments as the signature has.
        for argument, wanted in zip(arguments, signature, strict=False):
            if argument is None:
                continue
            takes = f"{name}() takes {' or '.join(wanted['types'])}"
            never_fits = type_complaint(argument, wanted["types"])
            if complaint := never_fits or possible_complaint(argument, wanted["types"]):
                self._remark_on_call(node, f"{takes}, and {complaint}", argument)
            if never_fits:
                return never(f"{takes}, and {never_fits}")
        if message := contains_complaint(name, given):
            self._remark_on_call(node, message, given[1])
            return never(message)
        return result_of_call(node, arguments)


SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def _boolean(why: str, *given: Result) -> Result:
    made = some(bool, why=why)
    return replace(made, possible={bool: why}) if all(each.possible for each in given) else made


def _comparable(types: Types) -> Types:
    return types | {int} if types & NUMBERS else types


def _why_unequal(sign: str, left: Result, right: Result) -> str:
    """Why two texts are never equal; empty where they may be."""
    if not (left.only_texts and right.only_texts) or set(left.texts) & set(right.texts):
        return ""
    one, others = (left, right) if left.constant else (right, left)
    (text, *_), known = one.texts, others.symbols or others.texts
    shown = ", ".join(known[:20]) + ", …" * (len(known) > 20)
    return f"`{sign}` compares with '{text}', which is none of {shown}{did_you_mean(text, known)}"


def _is_no_symbol(one: Result, other: Result) -> bool:
    """Whether one is a text that the enum which the other is does not have."""
    return bool(one.constant and other.symbols) and one.texts[0] not in other.symbols
