"""What Helm makes of the chart."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.chart import tools

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm"
GOLDEN = Path(__file__).parent / "golden"
GOOD = sorted(path for path in (CHART / "ci").glob("*.yaml") if not path.name.startswith("fail-"))
LEAST = CHART / "ci" / "minimal.yaml"
BAD = sorted((CHART / "ci").glob("fail-*.yaml"))


class RenderError(Exception):
    """Helm refused to render; the message is Helm's."""


def render(*values: Path, program: Path | None = None) -> str:
    """The chart rendered with these files of values, as `helm template` writes it."""
    return helm("template", "shop", str(CHART), *_files(values), program=program)


def objects(*values: Path) -> list[dict[str, Any]]:
    """The Kubernetes objects of a render."""
    return _objects(render(*values))


def release(values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The objects of release `shop` in namespace `integration`, with these values over the least ones."""
    return _objects(_release("template", json.dumps(values or {})))


def notes(values: Mapping[str, Any] | None = None) -> str:
    """What the user reads who installs that."""
    return _release("install", json.dumps(values or {}), "--dry-run=client").partition("\nNOTES:\n")[2]


def one(kind: str, among: Iterable[dict[str, Any]], *, named: str = "") -> dict[str, Any]:
    """The one object of a kind, with a name that ends so."""
    (found,) = (o for o in among if o["kind"] == kind and o["metadata"]["name"].endswith(named))
    return found


def bridge_container(among: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The container of the Deployment."""
    (container,) = one("Deployment", among)["spec"]["template"]["spec"]["containers"]
    return dict(container)


def helm(*arguments: str, values: str = "", program: Path | None = None) -> str:
    """What Helm prints, of which values `-` are these. Raises RenderError where it fails."""
    ended = subprocess.run(
        [program or tools.helm(), *arguments],
        input=values,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "HELM_NAMESPACE": "default", "KUBECONFIG": os.devnull},
    )
    if ended.returncode:
        raise RenderError(f"{ended.stdout}{ended.stderr}")
    return ended.stdout


def golden(values: Path, *, program: Path | None = None) -> str:
    """A render as it is kept for review: without the dashboard, which is a file of its own."""
    text = render(values, program=program)
    return re.sub(
        r"(?m)^(  \S+[.]json: \|\n) {4}\{\n(?: {5}.*\n)+ {4}\}\n", r"\1    (files/dashboard.json)\n", text
    )


@functools.cache
def _release(command: str, values: str, *options: str) -> str:
    where = ("shop", str(CHART), "--namespace", "integration")
    return helm(command, *where, *options, *_files([LEAST, Path("-")]), values=values)


def _objects(text: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(text) if each]


def _files(values: Iterable[Path]) -> list[str]:
    return [part for path in values for part in ("--values", str(path))]


def main() -> None:
    """Writes every golden render."""
    GOLDEN.mkdir(exist_ok=True)
    for path in GOLDEN.glob("*.yaml"):
        path.unlink()
    for values in GOOD:
        (GOLDEN / values.name).write_text(golden(values))


if __name__ == "__main__":
    main()
