"""The list of customers and their sources, and the changes that make the sources match it.

The file is CSV with a header: `source`, `account` and, where the bridge has several targets, `target`,
or `region`. CSV rather than YAML, in which an account of digits loses its leading zero.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from connector import config
from connector.config.entry_rules import MAX_SOURCE_CHARACTERS, SOURCE_NAME
from connector.config.problems import did_you_mean
from connector.errors import ConfigError, Problem, why_failed
from connector.model import SourceStatus

COLUMNS = ("source", "account", "target", "region")
_PREFIX = re.compile(r"aws\.partner/[.\-_A-Za-z0-9]+/[/.\-_A-Za-z0-9]*")
_ACCOUNT = re.compile(r"[0-9]{12}")

Action: TypeAlias = Literal["create", "keep", "delete", "leave", "conflict"]


class Customer(NamedTuple):
    """A source that should exist, and the account that it belongs to."""

    source: str
    account: str
    target: str


class Change(NamedTuple):
    """A change of one source that the list asks for, or the reason why there is none."""

    action: Action
    source: str
    target: str
    account: str | None
    text: str
    """Why, in words."""


def name_problem(name: str) -> str | None:
    """Explain why this cannot be the name of a partner event source; None where it can."""
    if len(name) > MAX_SOURCE_CHARACTERS:
        return f"has {len(name)} characters, and a source's name at most {MAX_SOURCE_CHARACTERS}"
    if not SOURCE_NAME.fullmatch(name):
        return (
            "is not a source's name: aws.partner/, then at least two segments of letters, digits, `.`, `-` "
            "and `_`, as aws.partner/example.com/acme"
        )
    return None


def prefix_problem(prefix: str) -> str | None:
    """Explain why EventBridge does not take this as a prefix of names; None where it does."""
    if len(prefix) <= MAX_SOURCE_CHARACTERS and _PREFIX.fullmatch(prefix):
        return None
    return (
        "is not how sources' names begin: aws.partner/<partner>/ and maybe more, as aws.partner/example.com/"
    )


def account_problem(account: str) -> str | None:
    """Explain why this cannot be an AWS account; None where it can."""
    if _ACCOUNT.fullmatch(account):
        return None
    hint = ""
    if account.isascii() and account.isdigit() and len(account) < 12:
        hint = "; did a spreadsheet eat its leading zeros?"
    return f"{account or 'nothing'} is not an AWS account, which has 12 digits{hint}"


def read_customers(file: Path, settings: config.Settings) -> list[Customer]:
    """Read the customers in a file.

    Raises:
        ConfigError: with every problem of the file, line by line.
    """
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = why_failed(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError([Problem("", f"cannot read {file}: {reason}")]) from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1)]
    kept = [(number, line) for number, line in lines if line.strip() and not line.lstrip().startswith("#")]
    rows = [(number, next(csv.reader([line]))) for number, line in kept]
    if not rows:
        raise ConfigError([Problem("", f"{file} is empty; its first line must name columns: source,account")])
    header = [cell.strip().lower() for cell in rows[0][1]]
    if problems := _header_problems(header, rows[0][0]):
        raise ConfigError(problems)
    customers: list[Customer] = []
    first_lines: dict[tuple[str, str], tuple[int, str]] = {}
    for number, cells in rows[1:]:
        where = f"line {number}"
        if len(cells) != len(header):
            problems.append(Problem("", f"{where}: {len(cells)} values for {len(header)} columns"))
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        found = [Problem("", f"{where}: {text}") for text in _row_problems(row, settings)]
        target = _target_of(row, settings)
        key = (target or "", row["source"])
        if key in first_lines and target:
            first, account = first_lines[key]
            also = "" if account == row["account"] else f" for another account, {account}"
            found.append(Problem("", f"{where}: {row['source']} is in line {first} already{also}; keep one"))
        first_lines.setdefault(key, (number, row["account"]))
        problems += found
        if not found and target:
            customers.append(Customer(row["source"], row["account"], target))
    if problems:
        raise ConfigError(problems)
    return customers


def _header_problems(header: Sequence[str], number: int) -> list[Problem]:
    where = f"line {number}"
    problems = [
        Problem("", f"{where}: unknown column {name!r}{did_you_mean(name, COLUMNS)}")
        for name in header
        if name not in COLUMNS
    ]
    problems += [
        Problem(
            "", f"{where}: there is no column `{name}`; the first line names the columns, as source,account"
        )
        for name in ("source", "account")
        if name not in header
    ]
    problems += [
        Problem("", f"{where}: column `{name}` is there twice") for name in COLUMNS if header.count(name) > 1
    ]
    if {"target", "region"} <= set(header):
        problems.append(Problem("", f"{where}: give `target` or `region`, not both"))
    return problems


def _row_problems(row: Mapping[str, str], settings: config.Settings) -> Iterable[str]:
    if text := name_problem(row["source"]):
        yield f"{row['source'] or 'nothing'} {text}"
    if text := account_problem(row["account"]):
        yield text
    targets = settings.all_targets
    if (name := row.get("target")) and name not in targets:
        yield f"there is no target {name}; known: {', '.join(targets)}{did_you_mean(name, targets)}"
    if region := row.get("region"):
        serving = targets_in(region, settings)
        if not serving:
            known = ", ".join(sorted({target.region for target in targets.values()}))
            yield f"no target of this bridge is in Region {region}; its Regions: {known}"
        elif len(serving) > 1:
            yield f"several targets are in Region {region} ({', '.join(serving)}); use a column `target`"


def _target_of(row: Mapping[str, str], settings: config.Settings) -> str | None:
    if region := row.get("region"):
        serving = targets_in(region, settings)
        return serving[0] if len(serving) == 1 else None
    name = row.get("target") or config.DEFAULT_TARGET
    return name if name in settings.all_targets else None


def targets_in(region: str, settings: config.Settings) -> list[str]:
    return [name for name, target in settings.all_targets.items() if target.region == region]


class Customers:
    """The accounts of the listed customers, as of the file's last change; none without `create_missing`.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, settings: config.Settings) -> None:
        self._settings = settings
        self._file = settings.sources.customers if settings.sources.create_missing else None
        self._changed_ns = -1
        self._accounts: dict[str, dict[str, str]] = {}
        self._read()

    def accounts(self, target: str) -> Mapping[str, str]:
        """Source → account, in one target. While the file is broken, its last usable content counts."""
        with contextlib.suppress(ConfigError):
            self._read()
        return self._accounts.get(target, {})

    def _read(self) -> None:
        if self._file is None:
            return
        try:
            changed_ns = self._file.stat().st_mtime_ns
        except OSError:
            changed_ns = 0
        if changed_ns == self._changed_ns:
            return
        self._changed_ns = changed_ns
        accounts: dict[str, dict[str, str]] = {}
        for source, account, target in read_customers(self._file, self._settings):
            accounts.setdefault(target, {})[source] = account
        self._accounts = accounts


def changes(
    customers: Sequence[Customer], existing: Mapping[tuple[str, str], SourceStatus], *, prune: bool
) -> list[Change]:
    """Plan the changes that make the sources those of the list; `existing` is by target and name.

    A source that belongs to another account than the list says is a conflict, and is left alone:
    creating it anew would cut off a customer.
    """
    planned: list[Change] = []
    listed = {(customer.target, customer.source) for customer in customers}
    for source, account, target in customers:
        found = existing.get((target, source))
        if found is None or found.state in {"MISSING", "DELETED"}:
            text = "was deleted, and its customer still has the bus" if found else "does not exist"
            planned.append(Change("create", source, target, account, text))
        elif found.account not in {None, account}:
            text = f"belongs to account {found.account}, not {account}; delete it first if that is meant"
            planned.append(Change("conflict", source, target, account, text))
        else:
            planned.append(Change("keep", source, target, account, f"is {found.state}"))
    for (target, source), found in sorted(existing.items()):
        if (target, source) in listed or found.state in {"MISSING", "DELETED"}:
            continue
        if prune and found.account is not None:
            text = f"is {found.state} and not in the list"
            planned.append(Change("delete", source, target, found.account, text))
        else:
            text = f"is {found.state} and not in the list; --prune would delete it"
            planned.append(Change("leave", source, target, found.account, text))
    return planned
