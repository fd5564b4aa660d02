"""What each value does to the Deployment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from connector import __version__, config
from tests.chart.render import CHART, GOOD, RenderError, bridge_container, objects, one, release


def deployment(values: dict[str, Any] | None = None) -> dict[str, Any]:
    return one("Deployment", release(values))


def pod(values: dict[str, Any] | None = None) -> dict[str, Any]:
    return dict(deployment(values)["spec"]["template"]["spec"])


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="unless told, so that whatever scales it is left alone"),
        pytest.param({"keda": {"enabled": True}, "partitions": 6}, id="when KEDA scales"),
    ],
)
def test_it_has_no_replicas(values: dict[str, Any]) -> None:
    assert "replicas" not in deployment(values)["spec"]


def test_it_has_the_replicas_it_is_told() -> None:
    """Also none."""
    assert 0 == deployment({"replicaCount": 0})["spec"]["replicas"]


def test_it_never_surges() -> None:
    """Each pod more is a rebalance more."""
    assert {"maxSurge": 0, "maxUnavailable": 1} == deployment()["spec"]["strategy"]["rollingUpdate"]


def test_it_stops_all_pods_before_a_new_one_when_told() -> None:
    """Kubernetes refuses `rollingUpdate` beside it, which the chart's default is."""
    assert {"type": "Recreate"} == deployment({"strategy": {"type": "Recreate"}})["spec"]["strategy"]


def test_it_is_restricted() -> None:
    """As the Pod Security Standard of that name wants."""
    security = bridge_container(release())["securityContext"]

    assert pod()["automountServiceAccountToken"] is False
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert "RuntimeDefault" == pod()["securityContext"]["seccompProfile"]["type"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert ["ALL"] == security["capabilities"]["drop"]


def test_it_asks_livez_for_life_and_readyz_for_readiness() -> None:
    container = bridge_container(release())
    paths = {
        kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")
    }

    assert {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"} == paths


def test_it_opens_the_port_of_the_configuration() -> None:
    container = bridge_container(release({"config": {"http": {"port": 9000}}}))

    assert 9000 == container["ports"][0]["containerPort"]


def checksum(values: dict[str, Any]) -> str:
    return str(deployment(values)["spec"]["template"]["metadata"]["annotations"]["checksum/config"])


def test_it_restarts_when_the_configuration_changes() -> None:
    before, after = checksum({}), checksum({"config": {"http": {"port": 9000}}})

    assert re.fullmatch("[0-9a-f]{64}", before)
    assert before != after


def test_it_takes_a_digest_over_a_tag() -> None:
    digest = f"sha256:{'0123456789abcdef' * 4}"
    image = {"repository": "r/b", "tag": "v1", "digest": digest}

    assert f"r/b@{digest}" == bridge_container(release({"image": image}))["image"]


@pytest.mark.parametrize(
    ("image", "parent", "expected"),
    [
        ({"registry": "a.example.com", "repository": "t/b"}, {}, "a.example.com/t/b:1"),
        ({"registry": "a.example.com", "repository": "t/b"}, {"imageRegistry": "m:5000"}, "m:5000/t/b:1"),
        ({"repository": "a.example.com/t/b"}, {}, "a.example.com/t/b:1"),
        ({"registry": "b.example.com", "repository": "a.example.com/t/b"}, {}, "a.example.com/t/b:1"),
        ({"repository": "t/b"}, {"imageRegistry": "m:5000"}, "m:5000/t/b:1"),
    ],
)
def test_the_registry_is_the_parent_s_or_its_own(
    image: dict[str, str], parent: dict[str, str], expected: str
) -> None:
    rendered = bridge_container(release({"image": {**image, "tag": "1"}, "global": parent}))

    assert expected == rendered["image"]


def test_it_pulls_with_the_secrets_of_both() -> None:
    """Charts write the global ones as texts or as objects."""
    values = {
        "global": {"imagePullSecrets": ["a", {"name": "b"}]},
        "image": {"pullSecrets": [{"name": "b"}, {"name": "c"}]},
    }

    assert [{"name": "a"}, {"name": "b"}, {"name": "c"}] == pod(values)["imagePullSecrets"]


def test_it_runs_the_application_s_version_unless_told_otherwise() -> None:
    assert f"partner-bridge:{__version__}" == bridge_container(release())["image"]


def test_it_selects_by_nothing_that_an_upgrade_changes() -> None:
    assert {
        "app.kubernetes.io/name": "partner-bridge",
        "app.kubernetes.io/instance": "shop",
        "app.kubernetes.io/component": "bridge",
    } == deployment()["spec"]["selector"]["matchLabels"]


def test_it_spreads_its_own_pods() -> None:
    nodes, zones = pod()["topologySpreadConstraints"]

    assert "shop" == nodes["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"]
    assert ["pod-template-hash"] == zones["matchLabelKeys"]


def test_what_a_constraint_says_of_its_pods_itself_is_left_as_it_is() -> None:
    """Merged with the chart's labels it would select other pods than it says."""
    own = {"labelSelector": {"matchLabels": {"team": "integration"}}, "matchLabelKeys": []}
    constraint = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", **own}

    assert [constraint] == pod({"topologySpreadConstraints": [constraint]})["topologySpreadConstraints"]


@pytest.mark.parametrize("values", GOOD, ids=lambda path: path.stem)
def test_no_variable_occurs_twice(values: Path) -> None:
    """A server-side apply refuses them."""
    containers = one("Deployment", objects(values))["spec"]["template"]["spec"]["containers"]
    env = next(each["env"] for each in containers if each["name"] == "partner-bridge")

    assert len({each["name"] for each in env}) == len(env)


def test_a_variable_of_the_user_is_there_instead_of_the_chart_s() -> None:
    """Of a Secret, of a file, of what the chart sets itself."""
    own = {
        name: {"name": name, "value": f"/mine/{name}"}
        for name in ("BRIDGE_CONFIG", "BRIDGE_KAFKA__SSL_CA_LOCATION", "BRIDGE_HTTP__RUNBOOK_URL")
    }
    reference = {"secretKeyRef": {"name": "mine", "key": "password"}}
    password = {"name": "BRIDGE_KAFKA__SASL_PASSWORD", "valueFrom": reference}
    values = {
        "secrets": {
            "kafka": {
                "existingSecret": "theirs",
                "settings": {"sasl.username": "username", "sasl.password": "password"},
                "files": {"ssl.ca.location": "ca.crt"},
            }
        },
        "prometheusRule": {"runbookUrl": "https://wiki.example.com"},
        "extraEnv": [*own.values(), password],
    }
    env = bridge_container(release(values))["env"]
    found = {each["name"]: each for each in env}

    assert len(env) == len(found)
    assert {**own, "BRIDGE_KAFKA__SASL_PASSWORD": password} == {
        name: each for name, each in found.items() if name != "BRIDGE_KAFKA__SASL_USERNAME"
    }


def test_text_of_a_secret_is_a_variable_and_a_certificate_a_file() -> None:
    secrets = {
        "kafka": {
            "existingSecret": "creds",
            "settings": {"sasl.password": "password"},
            "files": {"ssl.ca.location": "ca.crt"},
        },
        "schemaRegistry": {"existingSecret": "creds", "settings": {"basic_auth.password": "registry"}},
    }
    objects = release({"secrets": secrets})
    environ = {each["name"]: each for each in bridge_container(objects)["env"]}
    volumes = one("Deployment", objects)["spec"]["template"]["spec"]["volumes"]

    def key(name: str) -> dict[str, Any]:
        return {"secretKeyRef": {"name": "creds", "key": name}}

    assert key("password") == environ["BRIDGE_KAFKA__SASL_PASSWORD"]["valueFrom"]
    assert key("registry") == environ["BRIDGE_SCHEMA_REGISTRY__BASIC_AUTH__PASSWORD"]["valueFrom"]
    assert (
        "/etc/partner-bridge-secrets/kafka/ssl.ca.location"
        == environ["BRIDGE_KAFKA__SSL_CA_LOCATION"]["value"]
    )
    assert [source("secret", "creds", "ca.crt", "ssl.ca.location")] == files_of(volumes, "kafka")


def source(kind: str, name: str, key: str, path: str) -> dict[str, Any]:
    return {kind: {"name": name, "items": [{"key": key, "path": path}]}}


def files_of(volumes: list[dict[str, Any]], group: str) -> list[dict[str, Any]]:
    """What is mounted at /etc/partner-bridge-secrets/<group>."""
    (volume,) = (each for each in volumes if each["name"] == f"{group}-files")
    return list(volume["projected"]["sources"])


def test_files_come_from_several_objects_though_these_have_the_same_keys() -> None:
    """As Strimzi's do: one Secret for the user, one for the CA of the cluster; or a ConfigMap for that."""
    kafka = {
        "existingSecret": "user",
        "settings": {"sasl.password": {"secret": "other", "key": "password"}},
        "files": {
            "ssl.certificate.location": "tls.crt",
            "ssl.key.location": {"secret": "other", "key": "tls.key"},
            "ssl.ca.location": {"configMap": "cas", "key": "tls.crt"},
        },
    }
    objects = release({"secrets": {"kafka": kafka}})
    environ = {each["name"]: each for each in bridge_container(objects)["env"]}
    volumes = one("Deployment", objects)["spec"]["template"]["spec"]["volumes"]

    assert {"name": "other", "key": "password"} == environ["BRIDGE_KAFKA__SASL_PASSWORD"]["valueFrom"][
        "secretKeyRef"
    ]
    assert [
        source("configMap", "cas", "tls.crt", "ssl.ca.location"),
        source("secret", "user", "tls.crt", "ssl.certificate.location"),
        source("secret", "other", "tls.key", "ssl.key.location"),
    ] == files_of(volumes, "kafka")


@pytest.mark.parametrize("name", ["GITHUB_TOKEN_URL_PREFIX", "OTHER_PASSWORD", "SIDECAR_API_TOKEN"])
def test_only_our_own_variables_are_looked_at_for_secrets(name: str) -> None:
    """What other programs call a token is theirs to judge."""
    assert name in {each["name"] for each in bridge_container(release(variable(name)))["env"]}


@pytest.mark.parametrize(
    "name", ["BRIDGE_KAFKA__SASL_PASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
)
def test_our_own_secrets_are_not_written_out(name: str) -> None:
    with pytest.raises(RenderError, match=f"extraEnv {name} is written out"):
        release(variable(name))


@pytest.mark.parametrize(
    "name", ["BRIDGE_SCHEMA_REGISTRY__PRIVATE_KEY", "BRIDGE_SCHEMA_REGISTRIES__EAST__PRIVATE_KEY"]
)
def test_the_file_of_a_private_key_may_be_named_and_the_key_not(name: str) -> None:
    """As a Vault agent writes it."""
    path = variable(name, "/vault/secrets/key.pem")

    assert path["extraEnv"][0] in bridge_container(release(path))["env"]
    with pytest.raises(RenderError, match=f"extraEnv {name} is written out"):
        release(variable(name, "-----BEGIN PRIVATE KEY-----"))


def variable(name: str, value: str = "x") -> dict[str, Any]:
    return {"extraEnv": [{"name": name, "value": value}]}


def test_it_restarts_when_told_that_a_secret_changed() -> None:
    template = deployment({"secrets": {"restartToken": "2"}})["spec"]["template"]

    assert "2" == template["metadata"]["annotations"]["partner-bridge/restart-token"]


def test_names_have_at_most_63_characters() -> None:
    name = "a-name-that-is-a-good-deal-longer-than-the-63-characters-that-kubernetes-allows"

    assert name[:63] == deployment({"fullnameOverride": name})["metadata"]["name"]


def test_it_goes_into_another_namespace_when_told() -> None:
    assert "elsewhere" == deployment({"namespaceOverride": "elsewhere"})["metadata"]["namespace"]


OF_EVERY_POD = {
    "schedulerName": "bin-packing",
    "runtimeClassName": "gvisor",
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["10.0.0.10"]},
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["kafka-0"]}],
    "automountServiceAccountToken": True,
    "initContainers": [{"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"}],
    "nodeSelector": {"pool": "spot"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "business",
}


def test_what_a_platform_asks_of_pods_is_in_all_of_them() -> None:
    """In the Deployment's, the Jobs' and the test's: all reach the same Kafka from the same cluster."""
    rendered = release({**OF_EVERY_POD, "replay": {"enabled": True}, "report": {"enabled": True}})
    cron = one("CronJob", rendered)["spec"]["jobTemplate"]
    pods = [one("Deployment", rendered)["spec"]["template"], one("Job", rendered)["spec"]["template"]]
    pods += [cron["spec"]["template"], one("Pod", rendered)]

    for each in pods:
        assert OF_EVERY_POD == {key: each["spec"][key] for key in OF_EVERY_POD}


def test_nothing_of_that_is_there_unless_told() -> None:
    """But for the token, which is refused."""
    unset = set(OF_EVERY_POD) - {"automountServiceAccountToken"}

    assert not unset & set(pod())
    assert pod()["automountServiceAccountToken"] is False


def test_hooks_of_the_container_are_the_running_bridge_s_alone() -> None:
    hook = {"preStop": {"sleep": {"seconds": 5}}}
    rendered = release({"lifecycle": hook, "replay": {"enabled": True}})
    (job,) = one("Job", rendered)["spec"]["template"]["spec"]["containers"]

    assert hook == bridge_container(rendered)["lifecycle"]
    assert "lifecycle" not in job


def test_tmp_has_the_limit_it_is_told() -> None:
    volumes = {each["name"]: each for each in pod({"emptyDir": {"sizeLimit": "16Mi"}})["volumes"]}

    assert {"sizeLimit": "16Mi"} == volumes["tmp"]["emptyDir"]


def test_the_zone_of_the_node_is_client_rack(tmp_path: Path) -> None:
    """`ci/client-rack.yaml`: the bridge takes the variable that the pod's label fills."""
    rendered = objects(CHART / "ci" / "client-rack.yaml")
    (variable,) = (each for each in bridge_container(rendered)["env"] if "valueFrom" in each)
    (tmp_path / "bridge.yaml").write_text(one("ConfigMap", rendered)["data"]["bridge.yaml"])
    settings = config.load(tmp_path / "bridge.yaml", {variable["name"]: "eu-central-1a"})

    assert "metadata.labels['topology.kubernetes.io/zone']" == variable["valueFrom"]["fieldRef"]["fieldPath"]
    assert "eu-central-1a" == settings.kafka.options["client.rack"]
