"""Evidence as a harness: a node's log that nobody touched, and whatever is done to a copy of it. Invariant 11."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attacks import mutants
from attacks.control import Control
from evidence import KEY, LOG, ME, WITNESS_KEY, cosigned, decision, grow, opened

from agent.evidence.log import NodeLog
from audit import note, tiles, verify
from audit.record import BootRecord, dump
from certs import keys
from controlplane.cli.evidence import reader

PEER, PEER_KEY = "spiffe://acme.example/de/berlin/gpu-1", keys.generate_ed25519()
FAR = note.VerifierKey("acme.example/audit/berlin/gpu-1", note.NOTE, keys.raw(PEER_KEY.public_key()))
Deed = Callable[[Path], None]


@dataclass
class Evidence:
    """An attack got through if what it did is not named."""

    whole: Path

    def through(self, attack: Callable[["Evidence"], bool]) -> bool:
        return attack(self)


def make(directory: Path) -> Path:
    """600 records and a boot record, cosigned."""
    log = opened(directory)
    log.append([dump(BootRecord(node=ME, boot="b", time_ms=0, envoy="1"))])
    for first in range(1, 601, 60):  # groups that cross bundles
        grow(log, first, first + 59)
    cosigned(log)
    log.close()
    return directory


def done(deed: Deed) -> Callable[[Evidence], bool]:
    """Something is done to a copy of the log."""

    def attack(evidence: Evidence) -> bool:
        with tempfile.TemporaryDirectory() as place:
            copy = Path(place) / "log"
            shutil.copytree(evidence.whole, copy)
            deed(copy)
            return not verify.verify_log(reader(copy), LOG, WITNESS_KEY).findings

    return attack


def grown(fill: Callable[[NodeLog], None]) -> Callable[[Evidence], bool]:
    """A log that was written like this, and signed and cosigned in good order."""

    def attack(_evidence: Evidence) -> bool:
        with tempfile.TemporaryDirectory() as place:
            log = opened(Path(place))
            fill(log)
            cosigned(log)
            log.close()
            return not verify.verify_log(reader(Path(place)), LOG, WITNESS_KEY).findings

    return attack


def bend(change: Callable[[list[bytes]], list[bytes]]) -> Deed:
    def deed(directory: Path) -> None:
        path = directory / tiles.entries_path(0)
        path.write_bytes(tiles.bundle(change(list(tiles.entries(path.read_bytes())))))

    return deed


def strip_witness(directory: Path) -> None:
    path = directory / tiles.COSIGNED
    path.write_text("\n".join(path.read_text().split("\n")[:5]) + "\n")


def resign(directory: Path) -> None:
    path = directory / "checkpoint"
    head = note.open_checkpoint(path.read_text(), [LOG])[0]
    path.write_text(note.sign_checkpoint(head, LOG, keys.generate_ed25519().sign))


def rewrite(count: int) -> Deed:
    """Another past of `count` records, signed by the log's own key; the old cosignature beside it."""

    def deed(directory: Path) -> None:
        old = (directory / tiles.COSIGNED).read_bytes()
        shutil.rmtree(directory)
        log = opened(directory)
        for first in range(1, count + 1, 100):
            grow(log, first, min(first + 99, count))
        log.checkpoint()
        log.close()
        (directory / tiles.COSIGNED).write_bytes(old)

    return deed


def pair(sent: list, got: list) -> Callable[[Evidence], bool]:
    """Two logs, each in good order: do they agree?"""

    def attack(_evidence: Evidence) -> bool:
        reports = []
        with tempfile.TemporaryDirectory() as place:
            for name, key, private, records in (("a", LOG, KEY, sent), ("b", FAR, PEER_KEY, got)):
                log = NodeLog(Path(place) / name, key, private.sign)
                log.append([dump(item) for item in records])
                log.checkpoint()
                log.close()
                reports.append(verify.verify_log(reader(Path(place) / name), key, None))
        return not verify.reconcile(reports)

    return attack


def out(request: str, **changes: object):
    sent = {"direction": "out", "peer": PEER, "allowed": True, "status": 200, "peer_serial": "1"}
    return decision(int(request), request_id=request, **{**sent, **changes})


def into(request: str, **changes: object):
    got = {"node": PEER, "direction": "in", "peer": ME, "allowed": True, "status": 200}
    return decision(int(request), request_id=request, **{**got, **changes})


V = verify
CONTROLS = (
    Control(
        11,
        "log: every entry as it was logged",
        [
            (
                "one byte changed",
                done(bend(lambda e: [e[0], e[1].replace(b'"status":0', b'"status":9'), *e[2:]])),
            ),
            ("a record added", done(bend(lambda e: [e[0], e[0], *e[1:]]))),
            ("records swapped", done(bend(lambda e: [e[1], e[0], *e[2:]]))),
        ],
        mutants.code(V, "_bundle", "digest == wanted[at]", "True"),
    ),
    Control(
        11,
        "log: no entry is missing",
        [
            ("a record deleted", done(bend(lambda e: e[:5] + e[6:]))),
            ("the last record of a bundle deleted", done(bend(lambda e: e[:-1]))),
            ("a bundle deleted", done(lambda d: (d / tiles.entries_path(0)).unlink())),
            ("a tile deleted", done(lambda d: (d / tiles.tile_path(0, 1)).unlink())),
        ],
        mutants.both(
            mutants.code(
                V,
                "_bundle",
                "findings.append(_missing(name, first + at, first + until - 1))",
                "pass",
                "if at < width:",
                "if False:",
            ),
            mutants.code(V, "_check_runs", "if item.seq != expected:", "if False:"),
        ),
    ),
    Control(
        11,
        "log: counted without a hole",
        [("records that were never logged", grown(lambda log: (grow(log, 1, 5), grow(log, 8, 9))))],
        mutants.code(V, "_check_runs", "if item.seq != expected:", "if False:"),
    ),
    Control(
        11,
        "log: signed by its own key",
        [
            ("signed by another key", done(resign)),
            ("the checkpoint deleted", done(lambda d: (d / "checkpoint").unlink())),
        ],
        mutants.code(
            note,
            "_verify",
            "ed25519.Ed25519PublicKey.from_public_bytes(key.key).verify(blob, signed)",
            "pass",
        ),
    ),
    Control(
        11,
        "log: of its own node",
        [
            (
                "a record of another node",
                grown(
                    lambda log: log.append([dump(decision(1, node="spiffe://acme.example/de/berlin/gpu-1"))])
                ),
            )
        ],
        mutants.code(V, "_records", "if not _of_this_log(item, name):", "if False:"),
    ),
    Control(
        11,
        "log: witnessed",
        [
            ("the cosignature removed", done(strip_witness)),
            ("a truncated log, signed anew", done(rewrite(9))),
            ("a fork, signed anew", done(rewrite(800))),
        ],
        mutants.code(V, "verify_log", "if witness else 0", "if False else 0"),
    ),
    Control(
        11,
        "pairs: what was sent was received",
        [("the callee hides a request", pair([out("1"), out("2")], [into("1")]))],
        mutants.code(V, "reconcile", "if not _never_arrived(caller):", "if False:"),
    ),
    Control(
        11,
        "pairs: what was received was sent",
        [("the caller hides a request", pair([out("1")], [into("1"), into("2")]))],
        mutants.code(V, "reconcile", "if request_id not in sent:", "if False:"),
    ),
    Control(
        11,
        "pairs: both ends agree",
        [("another outcome", pair([out("1")], [into("1", status=500)]))],
        mutants.code(V, "reconcile", "caller.status != callee.status", "False"),
    ),
    Control(
        11,
        "pairs: no answer is hidden as a lost denial",
        [
            (
                "the caller was answered, and says its connection was cut",
                pair([out("1", status=503, details="upstream_reset_before_response_started")], [into("1")]),
            )
        ],
        mutants.code(V, "_unanswered", "not callee.allowed and", ""),
    ),
)
