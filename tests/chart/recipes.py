"""The recipes of `helm/recipes/`, each made into what Helm gets: a chart and files of values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.chart.render import CHART, LEAST, helm

RECIPES = CHART / "recipes"
RELEASE, NAMESPACE = "shop", "integration"


class Recipe(NamedTuple):
    """What `helm install` is called with."""

    chart: Path
    values: list[Path]

    @property
    def arguments(self) -> list[str]:
        return [str(self.chart), *(part for file in self.values for part in ("--values", str(file)))]

    def render(self) -> str:
        return helm("template", RELEASE, *self.arguments, "--namespace", NAMESPACE)

    def objects(self) -> list[dict[str, Any]]:
        return [each for each in yaml.safe_load_all(self.render()) if each]


def names() -> list[str]:
    """Of every recipe: a file, or the folder of a chart."""
    return sorted(path.stem for path in RECIPES.iterdir())


def prepare(name: str, folder: Path) -> Recipe:
    """The recipe as its reader uses it; what has to be made of its file for that is put into a folder.

    Values alone come behind the least ones. Those of a HelmRelease or an Application are complete.
    """
    if (RECIPES / name).is_dir():
        return Recipe(_parent(RECIPES / name, folder), [])
    file = RECIPES / f"{name}.yaml"
    content = yaml.safe_load(file.read_text())
    if content.get("kind") == "HelmRelease":
        values = yaml.safe_load(substituted(file.read_text()))["spec"]["values"]
    elif content.get("kind") == "Application":
        values = content["spec"]["source"]["helm"]["valuesObject"]
    else:
        return Recipe(CHART, [LEAST, file])
    (folder / "values.yaml").write_text(yaml.safe_dump(values))
    return Recipe(CHART, [folder / "values.yaml"])


def substituted(text: str) -> str:
    """What Flux makes of a manifest under `postBuild`, without variables of its own.

    Its substitution fails on a template (`missing closing brace`), as it does here: it wants `$${` for `${`.
    """
    assert not re.findall(r"(?<!\$)\$\{", text), "missing closing brace"
    return text.replace("$${", "${")


def _parent(recipe: Path, folder: Path) -> Path:
    chart = folder / recipe.name
    (chart / "charts").mkdir(parents=True)
    for file in recipe.iterdir():
        (chart / file.name).write_text(file.read_text())
    # As `helm dependency build` would fetch it from the repository.
    (chart / "charts" / "partner-bridge").symlink_to(CHART)
    return chart
