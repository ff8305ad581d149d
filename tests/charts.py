"""The chart, rendered by Helm's own engine, as objects."""

import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "writ"
NAMED: dict[str, Any] = {"controlplane": {"config": {"trust_domain": "acme.example"}}}
ENDPOINTS = ["etcd-1.example:2379", "etcd-2.example:2381"]
EVERYTHING: dict[str, Any] = {
    "store": {"profile": "bundled"},
    "controlplane": {"replicas": 3, "config": {"trust_domain": "acme.example"}},
    "agent": {"enabled": True},
    "gitops": {"enabled": True, "files": {"a.cedar": "permit (principal, action, resource);"}},
    "monitoring": {part: {"enabled": True} for part in ("serviceMonitor", "prometheusRule", "dashboard")},
}
EXTERNAL: dict[str, Any] = {
    "store": {"profile": "external", "tlsSecret": "etcd-tls", "passwordSecret": "etcd-password"},
    "controlplane": {
        "replicas": 2,
        "config": {"trust_domain": "acme.example", "store": {"endpoints": ENDPOINTS, "user": "writ"}},
    },
}
ATTESTED: dict[str, Any] = {
    "controlplane": {
        "config": {"trust_domain": "acme.example", "x509pop": {"match": "dns={node}.{site}.dc.example"}}
    },
    "agent": {"enabled": True},
    "attestation": {"kubernetes": {"enabled": True, "site": "berlin"}, "machineCAs": "machines"},
}


@functools.cache
def chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Later layers win, maps are merged."""
    found: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(found.get(key), dict)
            found[key] = merged(found[key], value) if both else copy.deepcopy(value)
    return found


def texts(*layers: dict[str, Any], **options: Any) -> dict[str, str]:
    values = merged(*layers)
    chart().validate_schema(values)
    return chart().render(values, name="writ", namespace="writ", **options)


def render(*layers: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    found = texts(*layers, **options)
    return [
        item
        for name in sorted(found)
        if name.endswith(".yaml")
        for item in yaml.safe_load_all(found[name])
        if item is not None
    ]


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod that the objects would start, by name."""
    for item in objects:
        if "template" in item.get("spec", {}):
            yield item["metadata"]["name"], item["spec"]["template"]["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]
