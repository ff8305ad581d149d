"""Thousands of nodes without their machines: rows in the store and real certificates, made while the control plane is away.

Enrolling them one by one through the API would take longer than what is measured. What is measured goes through the API.
"""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from certs import issue, keys
from certs.profile import Profile
from controlplane import config as settings
from controlplane import model, opening
from controlplane.cli.demo.mesh import Mesh
from controlplane.model import NodeRow, SiteRow
from controlplane.services import rows
from controlplane.services.authority import authorities
from controlplane.services.authority.authorities import Authorities
from controlplane.services.mesh import setup
from controlplane.signer.file import FileSigner
from controlplane.store.base import Store

SITE, JURISDICTION = "paris", "FR"
BATCH = 90
LIFETIME_S = 3600


def seed(mesh: Mesh, count: int) -> Path:
    """`count` enrolled nodes; a file with the chain of each, and the one key that they share. Then start the mesh."""
    return asyncio.run(_seed(mesh, count))


def believe(mesh: Mesh, nodes: Path) -> None:
    """Every control plane that runs by now, as nodes learn it from the trust document."""
    document = json.loads(nodes.read_text())
    document["ca"] = base64.b64encode(mesh.context().ca.read_bytes()).decode()
    nodes.write_text(json.dumps(document))


async def _seed(mesh: Mesh, count: int) -> Path:
    first = mesh.replicas[0]
    config = settings.load(first.config)
    signer = FileSigner(first.state / "keys", opening.read_passphrase(config))
    made = authorities.load(first.state, signer)
    store = await opening.open_store(config, "seed")
    key = keys.generate_p256()
    chains: list[str] = []
    try:
        await store.commit(
            expect={},
            put={rows.site_key(SITE): model.dump(SiteRow(name=SITE, jurisdiction=JURISDICTION, labels={}))},
        )
        for start in range(0, count, BATCH):
            batch = range(start, min(start + BATCH, count))
            chains += await _put(store, made, [f"n{number}" for number in batch], key)
    finally:
        await store.close()
    path = mesh.directory / "fleet.json"
    pem = keys.dump_private(key, None).decode()
    path.write_text(
        json.dumps(
            {
                "key": pem,
                "chains": chains,
                "names": [
                    f"spiffe://{made.trust_domain}/{JURISDICTION.lower()}/{SITE}/n{i}" for i in range(count)
                ],
            }
        )
    )
    return path


async def _put(store: Store, made: Authorities, names: Sequence[str], key: object) -> list[str]:
    put, chains = {}, []
    now = int(time.time())
    for name in names:
        row = NodeRow(
            trust_domain=made.trust_domain,
            node=name,
            site=SITE,
            jurisdiction=JURISDICTION,
            state=model.ENROLLED,
            epoch=1,
            address="127.0.0.1:7443",
        )
        prepared = issue.prepare(
            Profile(lifetime_s=LIFETIME_S),
            row.spiffe_id,
            row.attributes,
            1,
            public_key=key.public_key(),  # type: ignore[attr-defined]
            issuer=made.node_ca,
            serial=secrets.randbits(127) + 1,
            now=now,
        )
        leaf = issue.sign(prepared, made.signing(prepared.key_name))
        chains.append(_text(leaf))  # without its CA, as agents show it
        put[rows.node_key(name, SITE)] = model.dump(row)
    await store.commit(expect={}, put=put)
    return chains


def _text(*certificates: bytes) -> str:
    return base64.b64encode(setup.pem(*certificates)).decode()
