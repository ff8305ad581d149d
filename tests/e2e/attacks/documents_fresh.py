"""Documents that were right once: rolled back, frozen, mixed, or ahead of time. Invariant 7."""

from attacks import mutants
from attacks.control import Control
from attacks.documents import BLOBS, SIGNED, accepted, after, delegation, heartbeat, ticket, trust
from pki import NOW
from signed import NO_RULES, PEERS, RULES

from policies import codec, trusted
from policies import documents as d
from policies.model import ResourceKey
from policies.trusted import MAX_AHEAD_S, MAX_LEASE_S, TrustedDocuments


def _first_heartbeat() -> bool:
    node = SIGNED.node()
    node.update_delegation(SIGNED.delegation(), NOW)
    return accepted(node, lambda: node.update_heartbeat(SIGNED.heartbeat(), NOW))


OWN = d.ServedResource(key=ResourceKey(kind="Model", name="m", node="gpu-1.berlin"), port=1)
OPEN_RULES = codec.dump_rules(d.RulesBlob(ingress=NO_RULES, egress=NO_RULES, served=(OWN,)))
SWAPPED = {codec.digest(RULES): PEERS, codec.digest(PEERS): RULES}
LATE = NOW + MAX_AHEAD_S + 1
T = TrustedDocuments

CONTROLS = (
    Control(
        7,
        "rollback: versions never fall",
        [
            (
                "an older delegation",
                after(
                    lambda node: node.update_delegation(SIGNED.delegation(version=2), NOW),
                    delegation(lambda: SIGNED.delegation(version=1)),
                ),
            ),
            ("an older trust document", trust(lambda: SIGNED.trust(generation=9))),
            (
                "the trust document from before a CA was tainted",
                after(
                    lambda node: node.update_trust(SIGNED.trust(generation=12, node_cas=()), NOW),
                    trust(lambda: SIGNED.trust(generation=11)),
                ),
            ),
        ],
        mutants.code(T, "_check_newer", "if offered[0] < trusted[0]:", "if False:"),
    ),
    Control(
        7,
        "rollback: heartbeats never fall",
        [
            ("a heartbeat of an older generation", heartbeat(lambda: SIGNED.heartbeat(generation=9))),
            (
                "a heartbeat older than the trust document",
                after(
                    lambda node: node.update_trust(SIGNED.trust(generation=12), NOW),
                    heartbeat(
                        lambda: SIGNED.heartbeat(names=SIGNED.trust_document(generation=12), generation=11)
                    ),
                ),
            ),
        ],
        mutants.code(T, "update_heartbeat", "if offered.generation < trusted:", "if False:"),
    ),
    Control(
        7,
        "rollback: a heartbeat's time never falls",
        [("a heartbeat sent again after a later one", heartbeat(lambda: SIGNED.heartbeat(at=NOW - 1)))],
        mutants.code(T, "update_heartbeat", "if offered.at < self.highest.heartbeat_at:", "if False:"),
    ),
    Control(
        7,
        "rollback: tickets never fall",
        [("an older ticket", ticket(lambda: SIGNED.ticket(generation=9)))],
        mutants.code(T, "_check_ticket_is_newest", "if offered.generation < trusted:", "if False:"),
    ),
    Control(
        7,
        "rollback: policies that count no more",
        [
            (
                "a ticket of a policy version that was withdrawn",
                after(
                    lambda node: node.update_trust(SIGNED.trust(generation=11, policy_min=2), NOW),
                    ticket(lambda: SIGNED.ticket(generation=12)),
                ),
            )
        ],
        mutants.code(
            T, "_check_ticket_is_newest", "if self.trust is not None and offered", "if False and offered"
        ),
    ),
    Control(
        7,
        "freeze: a lease that has ended",
        [
            ("a heartbeat whose lease has ended", heartbeat(SIGNED.heartbeat, NOW + 900)),
            ("the same heartbeat, much later", heartbeat(SIGNED.heartbeat, NOW + 80_000)),
        ],
        mutants.code(T, "update_heartbeat", "if now >= offered.until:", "if False:"),
    ),
    Control(
        7,
        "freeze: a lease without end",
        [("a lease longer than any", heartbeat(lambda: SIGNED.heartbeat(until=NOW + MAX_LEASE_S + 1)))],
        mutants.code(
            T, "update_heartbeat", "if not 0 < offered.until - offered.at <= MAX_LEASE_S:", "if False:"
        ),
    ),
    Control(
        7,
        "freeze: a delegation that has ended",
        [("an expired delegation", delegation(lambda: SIGNED.delegation(version=2, expires=NOW)))],
        mutants.code(T, "update_delegation", "if now >= offered.expires:", "if False:"),
    ),
    Control(
        7,
        "freeze: documents of an ended delegation",
        [
            ("a trust document", trust(lambda: SIGNED.trust(generation=11), NOW + 86_400)),
            ("a ticket", ticket(SIGNED.ticket, NOW + 86_400)),
        ],
        mutants.code(T, "_open", "if now >= self.delegation.expires:", "if False:"),
    ),
    Control(
        7,
        "mix: a heartbeat with its trust document",
        [
            (
                "a heartbeat for a trust document that we do not hold",
                heartbeat(
                    lambda: SIGNED.heartbeat(names=SIGNED.trust_document(generation=11), generation=11)
                ),
            ),
            (
                "a heartbeat before any trust document",
                lambda _: _first_heartbeat(),
            ),
        ],
        mutants.code(
            T,
            "update_heartbeat",
            "if self.trust is None or offered.trust != self.highest.trust_digest:",
            "if False:",
        ),
    ),
    Control(
        7,
        "mix: one content for one version",
        [
            ("another delegation of a version", delegation(lambda: SIGNED.delegation(expires=NOW + 999_999))),
            ("another trust document of a generation", trust(lambda: SIGNED.trust(policy_now=3))),
        ],
        mutants.code(T, "_check_newer", "if offered[0] == trusted[0] and", "if False and"),
    ),
    Control(
        7,
        "mix: the blobs that were signed",
        [
            ("swapped blobs", ticket(lambda: SIGNED.ticket(generation=11), given=SWAPPED)),
            (
                "a changed blob",
                ticket(
                    lambda: SIGNED.ticket(generation=11), given={**BLOBS, codec.digest(RULES): RULES + b" "}
                ),
            ),
            (
                "other rules",
                ticket(
                    lambda: SIGNED.ticket(generation=11), given={**BLOBS, codec.digest(RULES): OPEN_RULES}
                ),
            ),
        ],
        mutants.code(trusted, "_blob", "codec.digest(data) != wanted", "False"),
    ),
    Control(
        7,
        "fast-forward: nothing from the future",
        [
            ("a heartbeat", heartbeat(lambda: SIGNED.heartbeat(at=LATE, until=LATE + 9))),
            ("a ticket", ticket(lambda: SIGNED.ticket(generation=11, issued_at=LATE))),
        ],
        mutants.code(trusted, "_check_made", "if made > now + MAX_AHEAD_S:", "if False:"),
    ),
)
