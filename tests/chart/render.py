"""What Helm makes of the chart."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.chart import tools

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm"
GOLDEN = Path(__file__).parent / "golden"
GOOD = sorted(path for path in (CHART / "ci").glob("*.yaml") if not path.name.startswith("fail-"))
BAD = sorted((CHART / "ci").glob("fail-*.yaml"))


class RenderError(Exception):
    """Helm refused to render; the message is Helm's."""


def render(*values: Path) -> str:
    """The chart rendered with these files of values, as `helm template` writes it."""
    return helm("template", "shop", str(CHART), *_files(values))


def objects(*values: Path) -> list[dict[str, Any]]:
    """The Kubernetes objects of a render."""
    return [each for each in yaml.safe_load_all(render(*values)) if each]


def one(kind: str, among: Iterable[dict[str, Any]], *, named: str = "") -> dict[str, Any]:
    """The one object of a kind, with a name that ends so."""
    (found,) = (o for o in among if o["kind"] == kind and o["metadata"]["name"].endswith(named))
    return found


def helm(*arguments: str) -> str:
    """What Helm prints. Raises RenderError where it fails."""
    ended = subprocess.run(
        [tools.helm(), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "HELM_NAMESPACE": "default", "KUBECONFIG": os.devnull},
    )
    if ended.returncode:
        raise RenderError(f"{ended.stdout}{ended.stderr}")
    return ended.stdout


def golden(values: Path) -> str:
    """A render as it is kept for review: without the dashboard, which is a file of its own."""
    text = render(values)
    dashboard = (CHART / "files" / "dashboard.json").read_text()
    indented = "".join(f"    {line}\n" for line in dashboard.splitlines())
    return text.replace(indented, "    (files/dashboard.json)\n")


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
