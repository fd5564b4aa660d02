"""kube-apiserver and etcd, built once from the modules of `go.sum`, and kept in the cache.

Kubernetes publishes no binaries in a package registry; its sources are Go modules whose hashes Go checks. The
build takes about ten minutes of two cores once, and 4 GB below Go's own caches while it lasts.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.services import MissingServiceError, cache

HERE = Path(__file__).parent
KUBERNETES = "k8s.io/kubernetes"
PACKAGES = {"kube-apiserver": f"{KUBERNETES}/cmd/kube-apiserver", "etcd": "go.etcd.io/etcd/server/v3"}
BUILD_TIMEOUT_S = 3600.0


def folder() -> Path:
    """Where `kube-apiserver` and `etcd` are; builds them first where they are missing.

    Raises:
        MissingServiceError: Go is missing or too old, or a module cannot be fetched. The message is Go's.
    """
    locked = hashlib.sha256((HERE / "go.mod").read_bytes() + (HERE / "go.sum").read_bytes()).hexdigest()[:12]
    return cache.folder(f"kubernetes-{locked}", _build)


def version() -> str:
    """That of Kubernetes, as `1.34.4`."""
    (found,) = re.findall(rf"^\t{KUBERNETES} v(\S+)", (HERE / "go.mod").read_text(), re.MULTILINE)
    return str(found)


def _build(into: Path) -> None:
    if shutil.which("go") is None:
        raise MissingServiceError("`go` is not installed; Kubernetes is built with it")
    major, minor, _ = version().split(".")
    # Without them the server takes itself for 0.0.0, and the chart refuses to be installed on it.
    known = {"gitVersion": f"v{version()}", "gitMajor": major, "gitMinor": minor}
    stamps = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in known.items()]
    for name, package in PACKAGES.items():
        print(f"Building {name}; this takes minutes, once.", file=sys.stderr, flush=True)
        began_s = time.monotonic()
        _go(into, name, package, " ".join(["-s -w", *stamps]))
        print(f"Built in {time.monotonic() - began_s:.0f} s.", file=sys.stderr, flush=True)


def _go(into: Path, name: str, package: str, link: str) -> None:
    # One after the other on each core, and behind everything else that the machine does.
    command = [
        "go",
        "build",
        "-mod=readonly",
        "-trimpath",
        f"-ldflags={link}",
        "-o",
        str(into / name),
        package,
    ]
    try:
        subprocess.run(
            ["nice", "-n", "19", *command] if shutil.which("nice") else command,
            cwd=HERE,
            check=True,
            timeout=BUILD_TIMEOUT_S,
            capture_output=True,
            text=True,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
        )
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-3:]
        raise MissingServiceError(f"`go build {package}` failed: {' '.join(last)}") from error
    except subprocess.TimeoutExpired as error:
        raise MissingServiceError(f"`go build {package}` took over {BUILD_TIMEOUT_S:.0f} s") from error


if __name__ == "__main__":
    try:
        print(folder())
    except MissingServiceError as error:
        sys.exit(f"make cluster: {error}")
