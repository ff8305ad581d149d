"""The story of `writ demo`: three sites, one mesh; allowed, denied, cut, failed closed, proven.

Every step makes real requests between real processes and compares what it sees with what it expects.
"""

import shutil
import signal
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

from controlplane.api.gen import admin_pb2
from controlplane.cli.demo import calls, outages, proof, revocation
from controlplane.cli.demo.etcd import EtcdError
from controlplane.cli.demo.mesh import Mesh, Node
from controlplane.cli.demo.processes import MeshError
from controlplane.cli.demo.show import Show

FR, DE, US = "app-1.paris", "gpu-1.berlin", "lab-1.boston"
SITES = {"paris": "FR", "berlin": "DE", "boston": "US"}
CLINICAL = admin_pb2.Attributes(
    groups=["clinical"], purposes=["treatment", "research"], regions=["eu"], tier=2, class_ceiling=4
)
SHORT_LEASE_S = 5


def play(*, keep: bool, store: str, replicas: int) -> int:
    """Run the demo; 0 if everything was as expected. Nothing stays behind unless `keep`."""
    directory = Path(tempfile.mkdtemp(prefix="writ-demo-"))
    mesh, show = Mesh(directory, lease_s=60, heartbeat_s=1.0, store=store, replicas=replicas), Show()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    good = False
    try:
        _story(mesh, show)
        good = show.summary()
        _next(directory, keep=keep)
    except (MeshError, EtcdError, OSError) as exc:
        show.fact(f"the demo could not go on: {exc}")
    except KeyboardInterrupt:
        show.fact("interrupted; stopping everything")
    finally:
        if not (keep and good):
            mesh.stop()
            if good:
                shutil.rmtree(directory, ignore_errors=True)
            else:
                show.fact(f"logs are kept in {directory}")
    return 0 if good else 1


def _story(mesh: Mesh, show: Show) -> None:
    enrol(mesh, show)
    fr, de, us = (mesh.nodes[name] for name in (FR, DE, US))
    allowed(mesh, show, fr, de)
    denied(mesh, show)
    if len(mesh.replicas) > 1:
        outages.replica(mesh, show, fr, de)
    revocation.cut(mesh, show, fr, de, us)
    outages.control_plane(mesh, show, fr, de, us)
    proof.evidence(mesh, show)


def enrol(mesh: Mesh, show: Show) -> None:
    """Step 1: a control plane, three sites, a node each."""
    show.step("1. Three sites join one mesh")
    store = " --store etcd …" if mesh.etcd else ""
    show.command(f"writ init --trust-domain demo.example{store} && writ controlplane run")
    mesh.init()
    for replica in mesh.replicas[1:]:
        show.command(f"writ controlplane join --config {replica.name}.toml && writ controlplane run")
    mesh.start_control_plane()
    for site, jurisdiction in SITES.items():
        mesh.site(site, jurisdiction)
    show.command("writ token create gpu-1.berlin --group clinical --purpose treatment … && writ agent run")
    for name in (FR, DE, US):
        mesh.prepare(name, CLINICAL, lease_max_s=SHORT_LEASE_S if name == US else 0)
    show.command("writ resource apply -f resources.yaml && writ policy apply policy.cedar")
    _serve(mesh)
    mesh.policy(resources.files("controlplane.cli.demo").joinpath("policy.cedar").read_text("utf-8"))
    for node in mesh.nodes.values():
        node.agent.start()
    for node in mesh.nodes.values():
        node.agent.ports()
    mesh.wait_enforced()
    for name in (FR, DE, US):
        found = mesh.find(name)
        show.fact(
            f"{found.spiffe_id}  epoch {found.epoch}  certificate {found.serial[:8]}… for {_minutes(found)} min"
        )
        show.check(f"{name} enforces policy", "version 1", f"version {found.policy_version}")


def _minutes(found: admin_pb2.Node) -> int:
    return round((found.not_after - time.time()) / 60)


def _serve(mesh: Mesh) -> None:
    declared = []
    for name in (DE, US):
        node, _, site = name.partition(".")
        port = mesh.server_port(name)
        for kind, model, groups in (
            ("Model", "ngram", ["clinical"]),
            ("Model", "ngram-private", []),
            ("Service", "openai", []),
        ):
            one = admin_pb2.Resource(
                kind=kind, name=model, node=node, site=site, port=port, owner=site, max_class=4
            )
            one.groups.extend(groups)
            declared.append(one)
    mesh.resources(*declared, groups=[("ModelGroup", "clinical")])


def allowed(mesh: Mesh, show: Show, fr: Node, de: Node) -> None:
    """Step 2: what policy permits, streamed, and what both ends say of it."""
    show.step("2. Paris asks a model in Berlin, for treatment")
    show.command(
        "OpenAI(base_url='http://127.0.0.1:7080/v1').chat.completions.create(model='ngram', stream=True)"
    )
    outcome = calls.chat(fr, DE, {"purpose": "treatment", "data-class": "3"}, stream=True)
    show.check("Paris → Berlin, chat, treatment", "allowed", outcome.code or "allowed", outcome.ms)
    show.fact(f"“{outcome.text[:76]}…”")
    decided = proof.decisions(mesh, outcome.record.partition("/")[0], (fr, de))
    show.check(
        "both ends decided", "clinical-inference, clinical-inference", ", ".join(d["policy"] for d in decided)
    )
    show.fact("clause: " + proof.clause(mesh, FR, DE, "chat", "ngram"))
    group = proof.key_exchange(de)
    show.check("TLS 1.3, key exchange", "TLSv1.3, X25519MLKEM768", f"{decided[1]['tls']}, {group}")
    pair, far = "list", ("tuple", "import")
    near_far = calls.embed(fr, DE, {"purpose": "treatment", "data-class": "1"}, [pair, *far])
    likeness = [sum(a * b for a, b in zip(near_far[0], one, strict=True)) for one in near_far[1:]]
    show.check(
        "embeddings: list is nearer to tuple than to import",
        "yes",
        "yes" if likeness[0] > likeness[1] else "no",
    )


def denied(mesh: Mesh, show: Show) -> None:
    """Step 3: denied by the caller, and by the callee when the caller is hostile."""
    fr, de, us = (mesh.nodes[name] for name in (FR, DE, US))
    show.step("3. What policy does not permit")
    cases = (
        ("for another purpose", {"purpose": "research", "data-class": "1"}, "ngram", "no_permit"),
        (
            "a model outside the group",
            {"purpose": "treatment", "data-class": "1"},
            "ngram-private",
            "no_permit",
        ),
        ("a purpose outside its certificate", {"purpose": "marketing"}, "ngram", "claim_not_allowed"),
    )
    for what, claims, model, code in cases:
        outcome = calls.chat(fr, DE, claims, model=model)
        show.check(f"Paris → Berlin, {what}: its own sidecar", code, outcome.code, outcome.ms)
        hostile = calls.bypass(fr.state / "identity.json", de, claims, model=model)
        show.check("  the same past its sidecar: Berlin", code, hostile.code, hostile.ms)
    before = proof.reached(us)
    outcome = calls.chat(fr, US, {"purpose": "treatment", "data-class": "4"})
    show.check("Paris → Boston, special data: its own sidecar", "forbidden", outcome.code, outcome.ms)
    show.check("  requests that left for Boston", "0", str(proof.reached(us) - before))
    hostile = calls.bypass(us.state / "identity.json", de, {"purpose": "research", "data-class": "1"})
    show.check("hostile Boston, real certificate, no sidecar: Berlin", "no_permit", hostile.code, hostile.ms)
    show.fact("nobody asked the control plane: both ends decide alone, from signed policy")


def _next(directory: Path, *, keep: bool) -> None:
    if keep:
        sys.stdout.write(
            f"\nThe mesh is still running. Try:\n  export WRIT_CONFIG={directory}/cli/config.toml\n"
        )
        sys.stdout.write(
            "  writ status\n  writ node list\n  writ policy explain --from app-1.paris --action chat \\\n"
        )
        sys.stdout.write("       --resource Model/ngram@gpu-1.berlin --purpose treatment --data-class 3\n")
        sys.stdout.write(f"  writ audit tail {directory}/gpu-1.berlin/var/evidence\n")
    else:
        sys.stdout.write(
            "\nNext: `writ demo --keep` leaves it running; the README explains a first policy.\n"
        )
