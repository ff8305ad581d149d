"""Logs of one node for tests: its key, its witness, records, and a log that grows."""

from pathlib import Path
from typing import Any

from agent.evidence.log import NodeLog
from audit import note
from audit.record import DecisionRecord, dump
from certs import keys

KEY, WITNESS = keys.generate_ed25519(), keys.generate_ed25519()
ME = "spiffe://acme.example/fr/paris/gpu-1"
LOG = note.VerifierKey("acme.example/audit/paris/gpu-1", note.NOTE, keys.raw(KEY.public_key()))
WITNESS_KEY = note.VerifierKey("acme.example/witness", note.COSIGNATURE, keys.raw(WITNESS.public_key()))


def decision(seq: int, **changes: Any) -> DecisionRecord:
    fields: dict[str, Any] = {}
    for empty, kinds in (("", {str, "str"}), (0, {int, "int"}), (False, {bool, "bool"})):
        fields |= {name: empty for name, kind in DecisionRecord.__annotations__.items() if kind in kinds}
    known = {"node": ME, "boot": "b", "seq": seq, "request_id": str(seq), "kind": "decision"}
    return DecisionRecord(**{**fields, **known, **changes})


def opened(directory: Path) -> NodeLog:
    return NodeLog(directory, LOG, KEY.sign)


def grow(log: NodeLog, first: int, last: int) -> None:
    log.append([dump(decision(seq)) for seq in range(first, last + 1)])


def cosigned(log: NodeLog) -> None:
    _, text = log.checkpoint()
    log.keep_cosigned(text + note.cosign(text, WITNESS_KEY, WITNESS.sign, 1))
