"""What the chart's pods may do, who may reach them, and what stays when the release goes."""

import re
from typing import Any

import charts
import pytest
import yaml
from charts import EVERYTHING, EXTERNAL, NAMED, one, render

RESTRICTED = {
    "embedded": render(NAMED),
    "everything but cutting": render(EVERYTHING, {"agent": {"cutStreams": False}}),
    "external": render(EXTERNAL),
    "the sidecar example": list(
        yaml.safe_load_all((charts.ROOT / "examples" / "kubernetes" / "sidecar.yaml").read_text())
    ),
}


@pytest.mark.parametrize("objects", RESTRICTED.values(), ids=RESTRICTED)
def test_no_container_has_root_a_capability_or_a_file_system_to_write_to(objects) -> None:
    found = list(charts.pods(objects))
    assert found
    for _, pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 1000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in charts.containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_an_agent_that_cuts_has_one_capability_and_nothing_else() -> None:
    pod = dict(charts.pods(render(EVERYTHING)))["writ-agent"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
    }
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not any(pod.get(name) for name in ("hostPID", "hostIPC"))


def test_where_workloads_ask_is_a_directory_of_the_machine_and_the_only_one_beside_the_state() -> None:
    socket = {"agent": {"config": {"workload": {"socket": "/run/writ/workload.sock"}}}}
    pod = dict(charts.pods(render(EVERYTHING, socket)))["writ-agent"]
    places = [volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume]
    assert (pod["hostPID"], sorted(places)) == (True, ["/run/writ", "/var/lib/writ/agent"])
    mounted = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted["workload"] == "/run/writ"


@pytest.mark.parametrize("objects", [*RESTRICTED.values(), render(EVERYTHING)])
def test_every_pod_has_bounds_probes_and_no_token_that_it_does_not_need(objects) -> None:
    for name, pod in charts.pods(objects):
        job = name.startswith("writ-bootstrap")
        assert pod["automountServiceAccountToken"] is job
        for container in charts.containers(pod):
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]
        if not job:
            assert all(c.get("readinessProbe") for c in pod["containers"] if c["name"] != "server")


def test_services_named_like_our_settings_do_not_become_settings() -> None:
    assert all(pod["enableServiceLinks"] is False for _, pod in charts.pods(render(EVERYTHING)))


def test_commands_of_ours_are_isolated_from_their_directory() -> None:
    for _, pod in charts.pods(render(EVERYTHING)):
        for container in charts.containers(pod):
            if container["command"][0] != "etcd":
                assert container["command"][:2] == ["python", "-I"]


def test_replicas_stand_apart_and_are_never_all_taken() -> None:
    objects = render(EVERYTHING)
    plane = one(objects, "StatefulSet", "writ-controlplane")
    budget = one(objects, "PodDisruptionBudget", "writ-controlplane")
    assert plane["spec"]["replicas"] == 3
    assert budget["spec"]["maxUnavailable"] == 1
    labels = plane["spec"]["template"]["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    apart = plane["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
    assert "preferredDuringSchedulingIgnoredDuringExecution" in apart
    assert not [item for item in render(NAMED) if item["kind"] == "PodDisruptionBudget"]


def policy(objects: list[dict[str, Any]], name: str) -> dict[int, list[Any] | None]:
    """Port -> who may reach it; None: everybody."""
    spec = one(objects, "NetworkPolicy", name)["spec"]
    return {port["port"]: rule.get("from") for rule in spec["ingress"] for port in rule["ports"]}


FEDERATED = {
    "controlplane": {"config": {"federation": {"listen": "0.0.0.0:8445"}}},
    "networkPolicy": {"federationPorts": [443]},
}


def test_only_its_ports_reach_a_control_plane_and_it_reaches_little() -> None:
    objects = render(NAMED)
    assert policy(objects, "writ-controlplane") == {
        8443: None,
        8444: None,
        9464: [{"namespaceSelector": {}}],
    }
    spec = one(objects, "NetworkPolicy", "writ-controlplane")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [[53, 53]]


def test_other_trust_domains_reach_our_bundle_and_theirs_are_reached_where_told() -> None:
    objects = render(NAMED, FEDERATED)
    assert policy(objects, "writ-controlplane")[8445] is None
    spec = one(objects, "NetworkPolicy", "writ-controlplane")["spec"]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [[53, 53], [443]]


def test_with_etcd_it_reaches_etcd_and_its_equals() -> None:
    spec = one(render(EXTERNAL), "NetworkPolicy", "writ-controlplane")["spec"]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [
        [53, 53],
        [2379, 2381],
        [8443],
    ]


def test_only_the_control_plane_and_its_members_reach_bundled_etcd() -> None:
    objects = render(EVERYTHING)
    spec = one(objects, "NetworkPolicy", "writ-etcd")["spec"]
    who = {
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in spec["ingress"]
        for peer in rule["from"]
    }
    assert who == {"controlplane", "bootstrap", "etcd"}


def test_the_sidecar_example_leaves_one_port_and_a_server_on_loopback() -> None:
    objects = RESTRICTED["the sidecar example"]
    reachable = policy(objects, "llama-1")
    assert [port for port, who in reachable.items() if who is None] == [7443]
    assert set(reachable) == {7443, 9465}
    pod = dict(charts.pods(objects))["llama-1"]
    (server,) = pod["containers"]
    assert "ports" not in server
    assert server["args"][:2] == ["--host", "127.0.0.1"]
    (token,) = [v["projected"] for v in pod["volumes"] if "projected" in v]
    assert token["sources"] == [
        {"serviceAccountToken": {"path": "token", "audience": "writ", "expirationSeconds": 600}}
    ]


@pytest.mark.parametrize("layers", [(NAMED,), (EVERYTHING,), (EXTERNAL,)])
def test_no_running_container_sees_the_root(layers) -> None:
    for name, pod in charts.pods(render(*layers)):
        roots = {
            v["name"] for v in pod.get("volumes", []) if v.get("secret", {}).get("secretName") == "writ-root"
        }
        for container in pod["containers"]:
            assert not roots & {mount["name"] for mount in container.get("volumeMounts", [])}, name


def test_secrets_and_volumes_stay_when_the_release_goes() -> None:
    objects = render(EVERYTHING)
    keys = one(objects, "Secret", "writ-keys")
    assert keys["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert set(keys["data"]) == {"passphrase", "kek"}
    assert [item["metadata"]["name"] for item in objects if item["kind"] == "Secret"] == ["writ-keys"]
    for name in ("writ-controlplane", "writ-etcd"):
        spec = one(objects, "StatefulSet", name)["spec"]
        assert spec["persistentVolumeClaimRetentionPolicy"] == {
            "whenDeleted": "Retain",
            "whenScaled": "Retain",
        }


def test_given_secrets_are_used_and_nothing_is_made() -> None:
    given = {"secrets": {"existingKeys": "my-keys", "existingRoot": "my-root"}}
    objects = render(NAMED, given)
    assert not [item for item in objects if item["kind"] in {"Secret", "Job", "Role"}]
    pod = dict(charts.pods(objects))["writ-controlplane"]
    named = {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
    assert named == {"my-keys", "my-root"}


def test_the_job_may_create_secrets_and_read_only_its_own() -> None:
    rules = one(render(NAMED), "Role", "writ-bootstrap")["rules"]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in rules] == [
        (["create"], None),
        (["get"], ["writ-root", "writ-operator"]),
    ]


def test_the_notes_say_the_next_command() -> None:
    notes = charts.texts(EVERYTHING)["writ/templates/NOTES.txt"]
    assert "WRIT_CONFIG=writ-operator/config.toml writ check" in notes
    assert "writ-root   the root" in notes


def test_alerts_and_panels_use_metrics_that_there_are() -> None:
    documented = set(re.findall(r"`(writ_\w+)`", (charts.ROOT / "docs" / "metrics.md").read_text()))
    objects = render(EVERYTHING)
    rules = one(objects, "PrometheusRule", "writ")["spec"]["groups"][0]["rules"]
    used = set(re.findall(r"writ_(?:agent|controlplane)_\w+", "".join(rule["expr"] for rule in rules)))
    dashboard = one(objects, "ConfigMap", "writ-dashboard")["data"]["writ.json"]
    used |= set(re.findall(r"writ_(?:agent|controlplane)_\w+", dashboard))
    assert used <= documented
    assert {"WritCertificateNotRenewed", "WritStale", "WritEvidenceGap", "WritDenialBurst"} <= {
        rule["alert"] for rule in rules
    }
