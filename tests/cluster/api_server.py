"""A Kubernetes API server: kube-apiserver and etcd as processes, on free ports of 127.0.0.1.

It judges and stores objects as any cluster does. No controller and no kubelet is there: a Deployment makes no
pods, and what is deleted in the foreground stays.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import urllib3
import yaml

from tests.chart import tools
from tests.chart.kubernetes import CUSTOM_RESOURCES
from tests.chart.render import RenderError
from tests.cluster import programs
from tests.services.certificates import Authority
from tests.services.child import Child, free_ports, wait_until

READY_S = 120


class Answer(NamedTuple):
    """What the API server said to a request."""

    status: int
    body: dict[str, Any]
    warnings: list[str]
    """Such as a deprecated version, or a Deployment whose pods the namespace would refuse."""

    @property
    def refusal(self) -> str:
        """Why it refused, or nothing."""
        return "" if self.status < 300 else f"{self.status}: {self.body.get('message', self.body)}"


class ApiServer:
    """With the definitions of KEDA, the Prometheus operator and others; use namespaces of your own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._token = secrets.token_hex(16)
        self._etcd_port, self._peer_port, self._port = free_ports(3)
        authority = Authority(folder)
        shown = authority.issue("kube-apiserver")
        signer = authority.issue("service-accounts")
        (folder / "tokens.csv").write_text(f"{self._token},admin,admin,system:masters\n")
        self._http = urllib3.PoolManager(
            ca_certs=str(authority.file),
            timeout=30,
            retries=False,
            headers={"Authorization": f"Bearer {self._token}"},
        )
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(self._kubeconfig(authority.file))
        binaries = programs.folder()
        self._etcd = Child(
            [
                str(binaries / "etcd"),
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls=http://127.0.0.1:{self._etcd_port}",
                f"--advertise-client-urls=http://127.0.0.1:{self._etcd_port}",
                f"--listen-peer-urls=http://127.0.0.1:{self._peer_port}",
                f"--initial-advertise-peer-urls=http://127.0.0.1:{self._peer_port}",
                f"--initial-cluster=default=http://127.0.0.1:{self._peer_port}",
                "--unsafe-no-fsync",
            ],
            log=folder / "etcd.log",
        )
        self._child = Child(
            [
                str(binaries / "kube-apiserver"),
                f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",  # or it wants to publish that address, which it refuses
                f"--secure-port={self._port}",
                f"--tls-cert-file={shown.file}",
                f"--tls-private-key-file={shown.key_file}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-signing-key-file={signer.key_file}",
                f"--service-account-key-file={signer.file}",
                f"--token-auth-file={folder / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.0.0.0/24",
            ],
            log=folder / "kube-apiserver.log",
        )

    def __enter__(self) -> ApiServer:
        self._etcd.start()
        self._child.start()
        wait_until(
            self._is_ready, what=lambda: f"kube-apiserver is ready\n{self._child.tail()}", timeout_s=READY_S
        )
        for file in sorted(CUSTOM_RESOURCES.glob("*.yaml")):
            self.define(yaml.safe_load(file.read_text()))
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()
        self._etcd.stop()

    def log(self) -> str:
        return self._child.tail()

    def ask(
        self,
        method: str,
        path: str,
        body: str | Mapping[str, Any] | None = None,
        *,
        kind: str = "application/yaml",
    ) -> Answer:
        """One request; a text is sent as the YAML that it is, so that a key that occurs twice is seen."""
        said = self._http.request(
            method,
            f"https://127.0.0.1:{self._port}{path}",
            body=body if isinstance(body, str) or body is None else yaml.safe_dump(body),
            headers={**self._http.headers, "Content-Type": kind, "Accept": "application/json"},
        )
        content = said.json() if said.headers.get("Content-Type", "").startswith("application/json") else {}
        return Answer(said.status, content, said.headers.getlist("Warning"))

    def define(self, definition: dict[str, Any]) -> None:
        """Makes a custom resource known, and waits until it is."""
        name = definition["metadata"]["name"]
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        assert not (refused := self.ask("POST", definitions, definition).refusal), refused

        def established() -> bool:
            conditions = self.ask("GET", f"{definitions}/{name}").body["status"]["conditions"] or []
            return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)

        wait_until(established, what=f"{name} is established")

    def create(self, obj: str | dict[str, Any], namespace: str, *, dry: bool = False) -> Answer:
        """Creates an object, or only has it judged; unknown fields and keys that occur twice are refused."""
        content = yaml.safe_load(obj) if isinstance(obj, str) else obj
        where = self.where(content, namespace)
        return self.ask("POST", f"{where}?fieldValidation=Strict{'&dryRun=All' * dry}", obj)

    def apply(self, obj: dict[str, Any], namespace: str, *, manager: str) -> Answer:
        """What `kubectl apply --server-side` asks for in the name of a field manager."""
        path = f"{self.where(obj, namespace)}/{obj['metadata']['name']}?fieldManager={manager}"
        return self.ask("PATCH", path, obj, kind="application/apply-patch+yaml")

    def find(self, obj: dict[str, Any], namespace: str) -> dict[str, Any] | None:
        """The object of that kind and name as it is stored, or None."""
        found = self.ask("GET", f"{self.where(obj, namespace)}/{obj['metadata']['name']}")
        return found.body if found.status == 200 else None

    def where(self, obj: dict[str, Any], namespace: str) -> str:
        """The path of the objects of that kind in a namespace, unless the object names another."""
        version, kind = obj["apiVersion"], obj["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        resources = self.ask("GET", root).body.get("resources", [])
        (found,) = [r for r in resources if r["kind"] == kind and "/" not in r["name"]] or [None]
        assert found, f"{version} {kind} is no kind that the API server knows"
        if not found["namespaced"]:
            return f"{root}/{found['name']}"
        return f"{root}/namespaces/{obj['metadata'].get('namespace', namespace)}/{found['name']}"

    def helm(self, *arguments: str, version: str = tools.NEWEST) -> str:
        """What Helm prints when it talks to this server; raises RenderError where it fails."""
        ended = subprocess.run(
            [tools.helm(version), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self._folder)},
        )
        if ended.returncode:
            raise RenderError(f"{ended.stdout}{ended.stderr}")
        return ended.stdout

    def _is_ready(self) -> bool:
        assert self._child.running, f"kube-apiserver ended\n{self._child.tail()}"
        assert self._etcd.running, f"etcd ended\n{self._etcd.tail()}"
        try:
            return self.ask("GET", "/readyz").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _kubeconfig(self, authority: Path) -> str:
        here = {"server": f"https://127.0.0.1:{self._port}", "certificate-authority": str(authority)}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "here", "cluster": here}],
                "users": [{"name": "admin", "user": {"token": self._token}}],
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
                "current-context": "here",
            }
        )
