"""Who becomes a node, and as which: join tokens and signing requests. Invariants 3 and 8."""

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor

import clients
import grpc
import pytest
from attacks import mutants
from attacks.control import Attack, Control
from attacks.plane import Plane, request
from cryptography import x509
from cryptography.x509.oid import NameOID

from agent import identity
from certs import issue, keys, spiffe
from certs.attributes import Attributes
from controlplane.api.gen import admin_pb2
from controlplane.attest import token as tokens
from controlplane.attest.token import JoinTokens
from controlplane.cli.demo.mesh import TRUST_DOMAIN
from controlplane.rpc.peer import Peers
from controlplane.services.admin.grants import Grant
from controlplane.services.admin.operators import Operators
from controlplane.services.identity import enrolment, key_owners
from controlplane.services.identity.attestation import Attestation
from controlplane.services.identity.enrolment import Enrolment

PLAIN = Attributes(tier=1)
CN, OU = NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME


def asks_for(*parts: tuple[x509.ObjectIdentifier, str], renews: bool = False) -> Attack:
    """A signing request with a subject of its own. It got through if the certificate says anything of it."""

    def attack(plane: Plane) -> bool:
        name, key = plane.name(), keys.generate_p256()
        csr = request(key, x509.Name([x509.NameAttribute(oid, value) for oid, value in parts]))
        if renews:
            _, holder = plane.enrolled(name)
            made = plane.identity(key, holder.renew(plane.mesh, key, "r" * 20, csr).chain)
        else:
            made = plane.enrols(plane.token(name), key, csr=csr)
        return (made.spiffe_id.node, made.attributes) != (name, PLAIN)

    return attack


def believe_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a signing request asks for is what is asserted."""
    asked: list[x509.Name] = []
    real_key, real_prepare = enrolment.public_key_from_csr, issue.prepare

    def noted(csr: bytes) -> object:
        asked.append(x509.load_der_x509_csr(csr).subject)
        return real_key(csr)

    def prepare(profile, spiffe_id, attributes, epoch, **rest) -> issue.Prepared:
        units = [part.value for part in asked[-1] if part.oid == OU]
        groups = frozenset(unit.removeprefix("group:") for unit in units if unit.startswith("group:"))
        for part in asked[-1]:
            if part.oid == CN:
                spiffe_id = dataclasses.replace(
                    spiffe_id, path=(*spiffe_id.path[:2], str(part.value), *spiffe_id.path[3:])
                )
        tier = next((int(unit[-1]) for unit in units if unit.startswith("tier:")), attributes.tier)
        return real_prepare(
            profile, spiffe_id, dataclasses.replace(attributes, groups=groups, tier=tier), epoch, **rest
        )

    monkeypatch.setattr(enrolment, "public_key_from_csr", noted)
    monkeypatch.setattr(issue, "prepare", prepare)


def believe_anybody(monkeypatch) -> None:
    """Whoever has a certificate of ours is an administrator."""

    async def everybody(_self, name: str, _serial: int) -> Grant:
        return Grant(name=name, role="admin", sites=frozenset(), credential="none")

    monkeypatch.setattr(Peers, "operator", lambda *_: spiffe.operator_id(TRUST_DOMAIN, "eve"))
    monkeypatch.setattr(Operators, "of", everybody)


def calls(method: str, make) -> Attack:
    """A node calls what is an operator's."""

    def attack(plane: Plane) -> bool:
        name, holder = plane.enrolled()
        stub = clients.admin(plane.mesh, keys.dump_private(holder.key, None), identity.pem(*holder.chain))
        try:
            getattr(stub, method)(make(name), timeout=10)
        except grpc.RpcError:
            return False
        return True

    return attack


def more(name: str) -> admin_pb2.SetNodeRequest:
    wanted = admin_pb2.Attributes(groups=["clinical"], tier=4, class_ceiling=4)
    return admin_pb2.SetNodeRequest(node=name, site="paris", attributes=wanted)


def token_of_a_friend(name: str) -> admin_pb2.CreateTokenRequest:
    return admin_pb2.CreateTokenRequest(node=f"{name}-friend", site="paris")


def twice(*, idempotency: str) -> Attack:
    """A token that somebody has used already, with another key."""

    def attack(plane: Plane) -> bool:
        text = plane.token(plane.name())
        assert plane.enrols(text, idempotency="a" * 20)
        return plane.enrols(text, idempotency=idempotency) is not None

    return attack


def by_fifty(plane: Plane) -> bool:
    text = plane.token(plane.name())
    with ThreadPoolExecutor(50) as pool:
        made = list(pool.map(lambda n: plane.enrols(text, idempotency=f"{n:020d}"), range(50)))
    return sum(one is not None for one in made) > 1


def for_another(plane: Plane) -> bool:
    """A token for one name, its text rewritten to another that is invited too."""
    mine, victim = plane.name(), plane.name()
    plane.token(victim)
    text = dataclasses.replace(tokens.parse(plane.token(mine)), node=victim).text()
    return plane.enrols(text) is not None


def for_another_site(plane: Plane) -> bool:
    name = plane.name()
    plane.mesh.site(f"site-{name}", "DE")
    plane.mesh.call("CreateToken", admin_pb2.CreateTokenRequest(node=name, site=f"site-{name}"))
    text = dataclasses.replace(tokens.parse(plane.token(name)), site=f"site-{name}").text()
    return plane.enrols(text) is not None


def too_late(plane: Plane) -> bool:
    asked = admin_pb2.CreateTokenRequest(node=plane.name(), site="paris", ttl_s=1)
    made = plane.mesh.call("CreateToken", asked)
    while time.time() < made.expires_at:
        time.sleep(made.expires_at - time.time() + 0.01)
    return plane.enrols(made.token) is not None


def of_a_revoked_node(plane: Plane) -> bool:
    name, _ = plane.enrolled()
    text = plane.token(name)
    plane.mesh.revoke(f"{name}.paris")
    return plane.enrols(text) is not None


def with_anothers_key(plane: Plane) -> bool:
    """A token of my own, and the key of a node that is there: revoking either would leave me the other."""
    _, holder = plane.enrolled()
    return plane.enrols(plane.token(plane.name()), holder.key) is not None


def renews_into_anothers_key(plane: Plane) -> bool:
    (_, mine), (_, other) = plane.enrolled(), plane.enrolled()
    return not isinstance(mine.renew(plane.mesh, other.key, "r" * 20), grpc.StatusCode)


def one_key_at_once(plane: Plane) -> bool:
    key, texts = keys.generate_p256(), [plane.token(plane.name()) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda text: plane.enrols(text, key), texts))
    return sum(one is not None for one in made) > 1


CONTROLS = (
    Control(
        8,
        "keys: of one node and of no other",
        [
            ("enrolled with the key of another", with_anothers_key),
            ("renewed into the key of another", renews_into_anothers_key),
            ("eight names with one key at once", one_key_at_once),
        ],
        mutants.code(key_owners, "check", "if found.row.node != node:", "if False:"),
    ),
    Control(
        8,
        "keys: compared when they are stored",
        [("eight names with one key at once", one_key_at_once)],
        mutants.code(key_owners, "claim", "{seen.key: seen.revision}", "{}"),
    ),
    Control(
        3,
        "enrolment: of a request only the key",
        [
            ("a request for another name", asks_for((CN, "victim"))),
            ("a request for a group", asks_for((OU, "group:clinical"))),
            ("a request for a tier", asks_for((OU, "tier:4"))),
            ("a renewal that asks for a group", asks_for((OU, "group:clinical"), renews=True)),
        ],
        believe_requests,
    ),
    Control(
        3,
        "attributes: asserted by operators alone",
        [
            ("a node sets its own attributes", calls("SetNode", more)),
            ("a node invites another", calls("CreateToken", token_of_a_friend)),
            (
                "a node moves its site",
                calls("AddSite", lambda name: admin_pb2.Site(name=f"{name}-site", jurisdiction="US")),
            ),
            (
                "a node revokes another",
                calls("RevokeNode", lambda name: admin_pb2.RevokeNodeRequest(node=name, site="paris")),
            ),
        ],
        believe_anybody,
    ),
    Control(
        8,
        "token: good once",
        [
            ("used twice", twice(idempotency="b" * 20)),
            ("used twice, as a retry of another key", twice(idempotency="a" * 20)),
            ("by fifty at once", by_fifty),
        ],
        mutants.code(
            Enrolment,
            "_enrol_once",
            "if use.row.used_by and not",
            "if False and not",
            "if use.row.used_by:",
            "if False:",
        ),
    ),
    Control(
        8,
        "token: for the node it names",
        [("for another name", for_another), ("for another site", for_another_site)],
        mutants.code(
            JoinTokens,
            "attest",
            " or (found.node, found.site) != (token.node, token.site)",
            "",
            "node=found.node",
            "node=token.node",
            "site=found.site",
            "site=token.site",
        ),
    ),
    Control(
        8,
        "token: before it ends",
        [("an expired token", too_late)],
        mutants.code(JoinTokens, "attest", "if self._clock() >= found.expires_at:", "if False:"),
    ),
    Control(
        8,
        "token: not of the revoked",
        [("a token from before the revocation", of_a_revoked_node)],
        mutants.code(Attestation, "node", "if row.state in model.SHUT_OUT:", "if False:"),
    ),
)
