"""The chart with Helm's own engine: it lints, renders what Kubernetes accepts, refuses what cannot work, uses every value."""

import copy
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import charts
import helm_python
import kubernetes_validate
import pytest
import yaml
from charts import EVERYTHING, EXTERNAL, NAMED, one, render

from agent import config as agent_config
from controlplane import config as controlplane_config

NEITHER = {"agent": {"enabled": True, "cutStreams": False}, "networkPolicy": {"enabled": False}}
OUTSIDE = {"controlplane": {"enabled": False}, "agent": {"enabled": True, "config": {"control_plane": {"address": "writ.example:8443"}}}}  # fmt: skip
GIVEN = {"secrets": {"existingKeys": "my-keys", "existingRoot": "my-root"}, "images": {"agent": {"digest": "sha256:" + "a" * 64}}}  # fmt: skip
CHECKOUT = {"gitops": {"enabled": True, "volume": {"persistentVolumeClaim": {"claimName": "policies"}}, "subPath": "cedar"}}  # fmt: skip
OPEN_TO = {"networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "monitoringFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]}}  # fmt: skip
WORKLOADS = {"agent": {"config": {"workload": {"socket": "/run/writ/workload.sock"}}}}
FEDERATED = {"controlplane": {"config": {"federation": {"listen": "0.0.0.0:8445"}}}, "networkPolicy": {"federationPorts": [443]}}  # fmt: skip
MATRIX = {
    "embedded": (NAMED,),
    "everything": (EVERYTHING,),
    "external": (EXTERNAL,),
    "neither capability nor policy": (NAMED, NEITHER),
    "agents of another cluster": (OUTSIDE,),
    "secrets given": (EVERYTHING, GIVEN),
    "a checkout": (NAMED, CHECKOUT),
    "identities of workloads": (EVERYTHING, WORKLOADS),
    "who may come": (EXTERNAL, OPEN_TO),
    "other trust domains": (EXTERNAL, FEDERATED),
}
OURS = {
    "ServiceMonitor",
    "PodMonitor",
    "PrometheusRule",
}  # no schema of Kubernetes: defined by the Prometheus operator


@pytest.mark.parametrize("layers", MATRIX.values(), ids=MATRIX)
def test_it_lints_without_a_warning(layers) -> None:
    report = helm_python.lint(charts.CHART, charts.merged(*layers), strict=True)
    bad = [message for message in report["messages"] if message["severity"] > 1]
    assert (report["errors"], bad) == ([], [])


@pytest.mark.parametrize("version", ["1.29", "1.37"])
@pytest.mark.parametrize("layers", MATRIX.values(), ids=MATRIX)
def test_kubernetes_accepts_every_object(layers, version) -> None:
    objects = render(*layers)
    assert objects
    for item in objects:
        if item["kind"] in OURS:
            assert item["apiVersion"] == "monitoring.coreos.com/v1"
        else:
            kubernetes_validate.validate(item, version, strict=True)
    names = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert len(names) == len(set(names))


def test_kubernetes_accepts_the_sidecar_example() -> None:
    objects = sidecar()
    for item in objects:
        kubernetes_validate.validate(item, "1.29", strict=True)
    (agent,) = one(objects, "StatefulSet", "llama-1")["spec"]["template"]["spec"]["initContainers"]
    assert agent["restartPolicy"] == "Always"


def sidecar() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((charts.ROOT / "examples" / "kubernetes" / "sidecar.yaml").read_text()))


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"controlplane": {"replicas": "two"}}, "replicas"),
        ({"controlplane": {"replicas": 0}}, "replicas"),
        ({"controlplane": {"config": {"identity": {"lease_s": "15m"}}}}, "lease_s"),
        ({"controlplane": {"config": {"identity": {"leases": 900}}}}, "leases"),
        ({"controlplane": {"config": {"trust_domain": "Not A Domain"}}}, "trust_domain"),
        ({"controlplane": {"config": {"server": {"listen": "8443"}}}}, "listen"),
        ({"store": {"profile": "postgres"}}, "profile"),
        ({"store": {"bundled": {"members": 2}}}, "members"),
        ({"images": {"agent": {"digest": "latest"}}}, "digest"),
        ({"agent": {"enabled": "yes"}}, "enabled"),
        ({"agent": {"config": {"workload": {"socket": "/run/workload.sock"}}}}, "socket"),  # all of /run
        ({"agent": {"config": {"envoy": {"concurrency": 1.5}}}}, "concurrency"),
        ({"gitops": {"files": ["a.cedar"]}}, "files"),
        ({"monitoring": {"prometheusRule": {"denialsPerSecond": -1}}}, "denialsPerSecond"),
        ({"replicas": 3}, "replicas"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(values, match) -> None:
    with pytest.raises(helm_python.HelmValuesError, match=match):
        charts.chart().validate_schema(charts.merged(NAMED, values))


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        (({},), "trust_domain is missing"),
        ((NAMED, {"controlplane": {"replicas": 2}}), "set store.profile to bundled or external"),
        ((NAMED, {"store": {"profile": "external"}}), "give controlplane.config.store.endpoints"),
        ((NAMED, {"gitops": {"enabled": True}}), "exactly one of"),
        ((EVERYTHING, {"gitops": {"configMap": "both"}}), "exactly one of"),
        ((OUTSIDE, {"agent": {"config": {"control_plane": {"address": ""}}}}), "address is missing"),
    ],
)
def test_what_cannot_work_is_refused_with_the_way_out(layers, match) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=match):
        render(*layers)


# --- values and settings -------------------------------------------------------------------------------------------


def leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def placed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value


OTHER: dict[str, Any] = {
    "store.profile": "embedded",
    "store.bundled.members": 3,
    "store.bundled.size": "3Gi",
    "controlplane.replicas": 2,
    "controlplane.persistence.size": "3Gi",
    "controlplane.service.type": "LoadBalancer",
    "controlplane.antiAffinity": "hard",
    "images.pullPolicy": "Always",
    "images.controlplane.digest": "sha256:" + "b" * 64,
    "images.agent.digest": "sha256:" + "b" * 64,
    "images.pullSecrets": [{"name": "registry"}],
    "monitoring.serviceMonitor.interval": "31s",
    "networkPolicy.federationPorts": [443],
    "networkPolicy.from": [{"podSelector": {}}],
    "networkPolicy.monitoringFrom": [{"podSelector": {}}],
    "controlplane.tolerations": [{"operator": "Exists"}],
    "agent.tolerations": [{"operator": "Exists"}],
    "controlplane.config.store.endpoints": ["other:2379"],
    "controlplane.config.store.kind": "etcd",
    "agent.config.workload.socket": "/other/place/workload.sock",
}
"""What to try where any other value of the type would not do."""
WITH_MAP = {**EVERYTHING, "gitops": {"enabled": True, "configMap": "kept"}}
BASES = {
    "store.tlsSecret": EXTERNAL,
    "store.passwordSecret": EXTERNAL,
    "controlplane.config.store.endpoints": EXTERNAL,
    "gitops.files": WITH_MAP,
    "gitops.configMap": WITH_MAP,
    "gitops.volume": WITH_MAP,
}
ALSO = {
    "gitops.files": {"gitops": {"configMap": ""}},
    "gitops.volume": {"gitops": {"configMap": ""}},
    "controlplane.enabled": {"agent": {"config": {"control_plane": {"address": "writ.example:8443"}}}},
}
"""What must change with it, or the chart refuses."""
SAME = {"controlplane.config.store.kind"}  # there is one choice, and the profile makes it


def other(path: str, value: Any) -> Any:
    if path in OTHER:
        return OTHER[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if path.endswith(("listen", "address", "advertise")):
        return "192.0.2.1:4321"
    if path.endswith("control_planes"):
        return ["192.0.2.1:4321"]
    if isinstance(value, dict):
        return {"emptyDir": {}} if path == "gitops.volume" else {"other": "value"}
    if path.endswith(("_file", "state_dir", "hostPath", "path", "socket")):
        return "/other/place"
    return "debug" if path.endswith("level") else "other"


def shown(values: dict[str, Any]) -> str:
    found = charts.texts(values)
    return json.dumps({name: re.sub(r"(passphrase|kek): \S+", "", text) for name, text in found.items()})


@pytest.mark.parametrize(
    "path", [".".join(path) for path, _ in leaves(yaml.safe_load((charts.CHART / "values.yaml").read_text()))]
)
def test_every_value_changes_something(path) -> None:
    keys = tuple(path.split("."))
    value = dict(leaves(yaml.safe_load((charts.CHART / "values.yaml").read_text())))[keys]
    base = BASES.get(path, EVERYTHING)
    current = copy.deepcopy(base)
    for key in keys[:-1]:
        current = current.get(key, {})
    was = current.get(keys[-1], value)
    changed = charts.merged(base, placed(keys, other(path, was)), ALSO.get(path, {}))
    if path == "store.profile":
        changed["controlplane"]["replicas"] = 1
    assert (shown(changed) == shown(base)) is (path in SAME)


def controlplane_fields() -> Iterator[tuple[str, ...]]:
    for name, field in controlplane_config._Settings.model_fields.items():
        nested = getattr(field.annotation, "model_fields", None)
        yield from [(name, key) for key in nested] if nested else [(name,)]


def agent_fields() -> Iterator[tuple[str, ...]]:
    for section, keys in agent_config.FIELDS.items():
        yield from [(section, key) if section else (key,) for key in keys]


@pytest.mark.parametrize("path", [".".join(path) for path in controlplane_fields()])
def test_every_setting_of_the_control_plane_is_a_value(path) -> None:
    keys = tuple(path.split("."))
    value = other(
        f"controlplane.config.{path}", dig(charts.chart().values["controlplane"]["config"], keys) or ""
    )
    objects = render(EXTERNAL, {"controlplane": {"config": placed(keys, value)}})
    text = one(objects, "ConfigMap", "writ-controlplane")["data"]["controlplane.toml"]
    assert dig(tomllib.loads(text), keys) == value


@pytest.mark.parametrize("path", [".".join(path) for path in agent_fields()])
def test_every_setting_of_the_agent_is_a_value(path) -> None:
    keys = tuple(path.split("."))
    value = other(f"agent.config.{path}", dig(charts.chart().values["agent"]["config"], keys))
    objects = render(EVERYTHING, {"agent": {"config": placed(keys, value)}})
    text = one(objects, "ConfigMap", "writ-agent")["data"]["agent.toml"]
    assert dig(tomllib.loads(text), keys) == value


def dig(tree: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def test_the_programs_accept_the_settings_that_are_rendered(tmp_path) -> None:
    objects = render(NAMED, {"agent": {"enabled": True}})
    (tmp_path / "c").write_text(one(objects, "ConfigMap", "writ-controlplane")["data"]["controlplane.toml"])
    (tmp_path / "a").write_text(one(objects, "ConfigMap", "writ-agent")["data"]["agent.toml"])
    plane, agent = controlplane_config.load(tmp_path / "c"), agent_config.load(tmp_path / "a", {})
    assert (plane.trust_domain, plane.enrolment_address) == ("acme.example", "writ.writ.svc:8444")
    assert (plane.metrics_listen, plane.lease_s) == ("0.0.0.0:9464", 900)
    assert (agent.metrics_listen, agent.max_body_bytes) == ("0.0.0.0:9465", 4 << 20)


def test_the_example_is_accepted_by_the_agent(tmp_path) -> None:
    (tmp_path / "a").write_text(one(sidecar(), "ConfigMap", "llama-1-agent")["data"]["agent.toml"])
    loaded = agent_config.load(tmp_path / "a", {"WRIT_INGRESS__ADVERTISE": "10.0.0.1:7443"})
    assert loaded.ingress_advertise == "10.0.0.1:7443"
