"""Certificates per second of one process without network and disk: signing request checked, prepared, stored in memory, signed.

Beside it the library alone, which is the bound: the request parsed and verified, and a certificate built and signed with a key
at hand. Each has a request, a node and a name of its own. Seconds are those of the processor: nothing here waits, and what else
the machine does is not our rate.
"""

import asyncio
import datetime as dt
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from benchmarks.rows import Row
from certs import keys
from certs.attributes import Attributes
from certs.csr import make_csr, public_key_from_csr
from certs.profile import Profile
from controlplane import model
from controlplane.model import NodeRow
from controlplane.services import rows
from controlplane.services.identity.issuance import Issuance, Wanted
from controlplane.services.mesh import setup
from controlplane.services.rows import Stored
from controlplane.signer.file import FileSigner
from controlplane.store.memory import MemoryStore

COUNT, ROUNDS = 3000, 5
DOMAIN = "bench.example"
ATTRIBUTES = Attributes(
    tier=2, groups=frozenset({"clinical"}), purposes=frozenset({"treatment"}), class_ceiling=3
)


def run(directory: Path) -> list[Row]:
    requests = [make_csr(keys.generate_p256()) for _ in range(COUNT)]
    ours, theirs = [], []
    for number in range(ROUNDS):
        theirs.append(_library(requests))
        ours.append(asyncio.run(_issue(directory / str(number), requests)))
    rate, bound = statistics.median(ours), statistics.median(theirs)
    print(f"    {rate:.0f}/s, the library alone {bound:.0f}/s: {rate / bound:.2f} of it")
    return [
        Row(
            name="issuance_memory_per_s",
            value=rate,
            unit="1/s",
            target=3000,
            floor=3000,
            better="higher",
            peer=f"cryptography alone, {bound:.0f}/s",
            n=COUNT * ROUNDS,
            spread=f"{min(ours):.0f} to {max(ours):.0f} of {ROUNDS} runs; {rate / bound:.2f} of the library alone",
        )
    ]


async def _issue(directory: Path, requests: Sequence[bytes]) -> float:
    store, now = MemoryStore(), int(time.time())
    signer = FileSigner(directory / "keys", b"a passphrase for a benchmark")
    made = setup.make_mesh(DOMAIN, directory, signer, now)
    issuance = Issuance(store, made, Profile())
    nodes = [await _invited(store, number) for number in range(len(requests))]
    certificates = set()
    began = time.process_time()
    for number, (node, csr) in enumerate(zip(nodes, requests, strict=True)):
        wanted = Wanted(
            node=node,
            becomes=node.row,
            public_key=public_key_from_csr(csr),
            idempotency_key=f"bench-{number:020d}",
        )
        certificates.add((await issuance.grant(wanted, now)).chain[0])
    took = time.process_time() - began
    if len(certificates) != len(requests):
        raise SystemExit("not every node was given a certificate of its own")
    return len(requests) / took


async def _invited(store: MemoryStore, number: int) -> Stored[NodeRow]:
    row = NodeRow(
        trust_domain=DOMAIN, node=f"n{number}", site="paris", jurisdiction="FR", state=model.INVITED, epoch=1
    ).with_attributes(ATTRIBUTES)
    key = rows.node_key(row.node, row.site)
    return Stored(key, row, await store.commit(expect={key: 0}, put={key: model.dump(row)}))


def _library(requests: Sequence[bytes]) -> float:
    """A leaf of the same shape, by the library's own builder."""
    key, now = keys.generate_p256(), time.time()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    usage = x509.KeyUsage(*([True] + [False] * 8))
    purposes = x509.ExtendedKeyUsage(
        [x509.ExtendedKeyUsageOID.CLIENT_AUTH, x509.ExtendedKeyUsageOID.SERVER_AUTH]
    )
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    began = time.process_time()
    for number, der in enumerate(requests):
        csr = x509.load_der_x509_csr(der)
        if not csr.is_signature_valid:
            raise SystemExit("a request is not signed")
        names = [
            x509.UniformResourceIdentifier(f"spiffe://{DOMAIN}/fr/paris/n{number}"),
            x509.DNSName(f"n{number}.paris.{DOMAIN}"),
        ]
        built = x509.CertificateBuilder(name, name, csr.public_key(), number + 1, _at(now), _at(now + 3600))
        built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        built = built.add_extension(usage, critical=True).add_extension(purposes, critical=False)
        built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
        built = built.add_extension(issuer_id, critical=False)
        built = built.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(csr.public_key()), critical=False
        )
        built.sign(key, hashes.SHA256()).public_bytes(keys.serialization.Encoding.DER)
    return len(requests) / (time.process_time() - began)


def _at(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
