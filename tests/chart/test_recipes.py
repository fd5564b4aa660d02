"""The recipes of docs/platforms.md render, hold what they promise, and agree with themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector import __version__, config
from connector.config.settings import Settings
from tests.chart import kubernetes, recipes
from tests.chart.recipes import RECIPES, Recipe
from tests.chart.render import ROOT, RenderError, bridge_container, one

PAGE = (ROOT / "docs" / "platforms.md").read_text()


@pytest.fixture
def recipe(request: pytest.FixtureRequest, tmp_path: Path) -> Recipe:
    return recipes.prepare(request.param, tmp_path)


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("recipe", [name], indirect=True)


every = pytest.mark.parametrize("recipe", recipes.names(), indirect=True)


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pod, or what it is made by, of each object that has one."""
    found = {}
    for obj in objects:
        spec = obj.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if obj["kind"] == "Pod" or template:
            found[obj["kind"]] = template or obj
    return found


def settings(objects: list[dict[str, Any]], folder: Path) -> Settings:
    """What the application makes of ConfigMap and environment, every Secret being there."""
    mounted = next(o for o in objects if "bridge.yaml" in o.get("data", {}))
    (folder / "bridge.yaml").write_text(mounted["data"]["bridge.yaml"])
    environ = {}
    for each in bridge_container(objects)["env"]:
        value = each.get("value", "from-a-secret")
        if each["name"].endswith("_FILE"):
            file = folder / Path(value).name
            file.write_text("from-a-file")
            value = str(file)
        environ[each["name"]] = value
    return config.load(folder / "bridge.yaml", environ)


@every
def test_kubernetes_and_the_others_would_take_every_object(recipe: Recipe) -> None:
    wrong = {f"{o['kind']} {o['metadata']['name']}": kubernetes.problems(o) for o in recipe.objects()}

    assert {} == {what: problems for what, problems in wrong.items() if problems}


@pytest.mark.parametrize("name", ["flux", "argo-cd"])
def test_flux_and_argo_cd_would_take_the_recipe_itself(name: str) -> None:
    assert [] == kubernetes.problems(yaml.safe_load((RECIPES / f"{name}.yaml").read_text()))


@pytest.mark.parametrize("recipe", [n for n in recipes.names() if n != "several-bridges"], indirect=True)
def test_the_application_takes_the_configuration(recipe: Recipe, tmp_path: Path) -> None:
    event = settings(recipe.objects(), tmp_path).topics["orders.v1"].event

    assert "aws.partner/example.com/${value.tenant_id}" == event.source


@pytest.mark.parametrize("name", recipes.names())
def test_the_page_shows_every_recipe(name: str) -> None:
    """And links to its file."""
    file = f"{name}/Chart.yaml" if (RECIPES / name).is_dir() else f"{name}.yaml"

    assert f"](../helm/recipes/{file})" in PAGE


@of("openshift")
def test_openshift_chooses_the_users(recipe: Recipe) -> None:
    """`restricted-v2` refuses a pod that names one, and one that may be root."""
    context = pods(recipe.objects())["Deployment"]["spec"]["securityContext"]

    assert {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}} == context


@of("openshift")
def test_openshift_s_dns_can_be_reached(recipe: Recipe) -> None:
    """Its network compares ports after translation, and the pods of its DNS listen on 5353."""
    dns = one("NetworkPolicy", recipe.objects())["spec"]["egress"][0]

    assert 5353 in [each["port"] for each in dns["ports"]]
    assert "openshift-dns" in json.dumps(dns["to"])


def test_flux_fails_on_a_template_that_is_not_escaped() -> None:
    """The judge is not asleep."""
    with pytest.raises(AssertionError, match="missing closing brace"):
        recipes.substituted("source: ${value.tenant_id}")


@of("argo-cd")
def test_argo_cd_runs_the_replay_as_a_hook(recipe: Recipe) -> None:
    annotations = one("Job", recipe.objects())["metadata"]["annotations"]

    assert "PostSync" == annotations["argocd.argoproj.io/hook"]


@of("strimzi")
def test_the_kafka_user_may_do_what_the_bridge_does(recipe: Recipe, tmp_path: Path) -> None:
    """A topic or group that the recipe's configuration names and its ACLs do not would stop the bridge."""
    objects = recipe.objects()
    found = settings(objects, tmp_path)
    acls = one("KafkaUser", objects)["spec"]["authorization"]["acls"]
    named = {(a["resource"]["type"], a["resource"]["name"]): set(a["operations"]) for a in acls}

    assert ["orders.v1"] == list(found.topics)
    assert {"Read", "Describe"} <= named["topic", "orders.v1"]
    assert {"Read", "Write", "Describe"} <= named["topic", found.dead_letter.topic]
    assert {"Read"} <= named["group", found.kafka.options["group.id"]]


@of("strimzi")
def test_strimzi_s_files_come_from_two_secrets(recipe: Recipe) -> None:
    """The User Operator makes one of them, the Cluster Operator the other."""
    text = json.dumps(pods(recipe.objects())["Deployment"]["spec"]["volumes"])

    assert "orders-bridge" in text
    assert "events-cluster-ca-cert" in text


@of("istio")
def test_istio_s_exceptions_are_the_ports_of_the_configuration(recipe: Recipe, tmp_path: Path) -> None:
    objects = recipe.objects()
    found = settings(objects, tmp_path)
    annotations = pods(objects)["Deployment"]["metadata"]["annotations"]

    (_, port) = found.kafka.options["bootstrap.servers"].split(":")
    assert port == annotations["traffic.sidecar.istio.io/excludeOutboundPorts"]
    assert str(found.http.port) == annotations["traffic.sidecar.istio.io/excludeInboundPorts"]


@of("istio")
def test_jobs_get_no_sidecar_of_istio(recipe: Recipe, tmp_path: Path) -> None:
    """A sidecar outlives the bridge in it, and the Job would never end."""
    (tmp_path / "replay.yaml").write_text("{replay: {enabled: true}, report: {enabled: true}}")
    found = pods(Recipe(recipe.chart, [*recipe.values, tmp_path / "replay.yaml"]).objects())
    injected = {kind: pod["metadata"]["labels"].get("sidecar.istio.io/inject") for kind, pod in found.items()}

    assert {"Deployment": None, "Job": "false", "CronJob": "false", "Pod": "false"} == injected


@of("ipv6")
def test_ipv6_is_listened_on_and_asked_for(recipe: Recipe, tmp_path: Path) -> None:
    found = settings(recipe.objects(), tmp_path)

    assert "::" == found.http.host
    assert found.eventbridge is not None
    assert found.eventbridge.use_dualstack


@of("vault-agent")
def test_the_bridge_reads_the_files_that_vault_s_agent_writes(recipe: Recipe, tmp_path: Path) -> None:
    objects = recipe.objects()
    prefix = "vault.hashicorp.com/agent-inject-secret-"
    written = {
        f"/vault/secrets/{name.removeprefix(prefix)}"
        for name in pods(objects)["Deployment"]["metadata"]["annotations"]
        if name.startswith(prefix)
    }
    env = bridge_container(objects)["env"]
    found = settings(objects, tmp_path)

    assert written == {each["value"] for each in env if each["name"].endswith("_FILE")}
    assert "from-a-file" == found.kafka.options["sasl.username"]


@of("vault-agent")
def test_vault_s_agent_finds_a_token_and_its_templates(recipe: Recipe) -> None:
    """Helm must not take a template of Vault for one of its own."""
    pod = pods(recipe.objects())["Deployment"]
    template = pod["metadata"]["annotations"]["vault.hashicorp.com/agent-inject-template-password"]

    assert '{{ with secret "secret/data/orders-bridge" }}{{ .Data.data.password }}{{ end }}' == template
    assert pod["spec"]["automountServiceAccountToken"]


@of("secrets-store-csi")
def test_the_volume_brings_about_the_secret_that_the_settings_need(recipe: Recipe) -> None:
    objects = recipe.objects()
    (made,) = one("SecretProviderClass", objects)["spec"]["secretObjects"]

    assert {(made["secretName"], each["key"]) for each in made["data"]} == from_secrets(objects)


@of("external-secrets")
def test_the_external_secret_is_the_one_that_the_settings_need(recipe: Recipe) -> None:
    objects = recipe.objects()
    made = one("ExternalSecret", objects)["spec"]["target"]["name"]

    assert {(made, "username"), (made, "password")} == from_secrets(objects)


def from_secrets(objects: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """The Secrets and keys that the bridge's environment comes from."""
    references = [
        each["valueFrom"]["secretKeyRef"] for each in bridge_container(objects)["env"] if "valueFrom" in each
    ]
    return {(reference["name"], reference["key"]) for reference in references}


@of("private-ca")
def test_the_ca_is_used_for_kafka_the_registry_and_eventbridge(recipe: Recipe, tmp_path: Path) -> None:
    objects = recipe.objects()
    found = settings(objects, tmp_path)
    spec = pods(objects)["Deployment"]["spec"]
    mounted = [each["mountPath"] for each in bridge_container(objects)["volumeMounts"]]
    assert found.schema_registry is not None
    assert found.eventbridge is not None
    used = [found.kafka.options["ssl.ca.location"], found.schema_registry.ca, found.eventbridge.ca_bundle]

    assert "company-ca" in json.dumps(spec["volumes"])
    assert [] == [path for path in used if not str(path).startswith(tuple(mounted))]


@of("proxy")
def test_the_proxy_can_be_reached(recipe: Recipe) -> None:
    objects = recipe.objects()
    proxy = next(each["value"] for each in bridge_container(objects)["env"] if each["name"] == "HTTPS_PROXY")
    (rule,) = (
        rule
        for rule in one("NetworkPolicy", objects)["spec"]["egress"]
        if [int(proxy.rpartition(":")[2])] == [each["port"] for each in rule["ports"]]
    )

    assert rule["to"]


@of("several-bridges")
def test_bridges_of_one_release_share_nothing(recipe: Recipe, tmp_path: Path) -> None:
    """Neither names, nor the pods that they select, nor their consumer group."""
    policy = "networkPolicy: {enabled: true}"
    (tmp_path / "policies.yaml").write_text(f"{{orders: {{{policy}}}, payments: {{{policy}}}}}")
    objects = Recipe(recipe.chart, [tmp_path / "policies.yaml"]).objects()
    deployments = [o for o in objects if o["kind"] == "Deployment"]
    selectors = [json.dumps(o["spec"]["selector"]) for o in deployments]
    policies = [json.dumps(o["spec"]["podSelector"]) for o in objects if o["kind"] == "NetworkPolicy"]
    names = [(o["kind"], o["metadata"]["name"]) for o in objects]
    groups = {
        yaml.safe_load(o["data"]["bridge.yaml"])["kafka"]["group.id"]
        for o in objects
        if "bridge.yaml" in o.get("data", {})
    }

    assert ["shop-orders", "shop-payments"] == [o["metadata"]["name"] for o in deployments]
    images = {c["image"] for o in deployments for c in o["spec"]["template"]["spec"]["containers"]}

    assert {f"registry.example.com/partner-bridge:{__version__}"} == images
    assert 2 == len(set(selectors)) == len(set(policies)) == len(groups)
    assert len(names) == len(set(names))


@of("several-bridges")
def test_a_bridge_of_several_can_be_left_out(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "off.yaml").write_text("{payments: {enabled: false}}")
    objects = Recipe(recipe.chart, [tmp_path / "off.yaml"]).objects()

    assert "shop-orders" == one("Deployment", objects)["metadata"]["name"]


def test_a_misspelt_value_of_a_recipe_would_be_found(tmp_path: Path) -> None:
    """The chart's schema judges recipes as it judges everybody's values."""
    (tmp_path / "wrong.yaml").write_text("{networkPolicy: {extraEgres: []}}")
    proxy = recipes.prepare("proxy", tmp_path)

    with pytest.raises(RenderError, match="extraEgres"):
        Recipe(proxy.chart, [*proxy.values, tmp_path / "wrong.yaml"]).render()
