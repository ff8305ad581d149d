"""Issuing CAs as attackers want them: used before anybody knows them, believed after they are gone, signed for a stranger."""

import asyncio
import contextlib
import dataclasses
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import rotating
from attacks import mutants
from attacks.control import Control
from rotating import DAY, NODE, START, Plane, World

from certs import authority, bundle, crl, keys, verify
from certs.errors import CertError
from certs.profile import CaKind
from controlplane import authority_rows, model
from controlplane.errors import ControlPlaneError
from controlplane.services.authority import ca_rows, tainting
from controlplane.services.authority.ca_authorities import CaAuthorities
from controlplane.services.authority.tainting import Tainting
from controlplane.services.mesh import join, replicas, root_again

Work = Callable[[World], Awaitable[bool]]


class Mint:
    """A mesh in memory whose CAs rotate, made anew for every attack. An attack says itself whether it got through."""

    def through(self, attack: Work) -> bool:
        async def run() -> bool:
            with tempfile.TemporaryDirectory() as directory:
                async with rotating.store_of("memory", Path(directory)) as store:
                    world = World(Path(directory), store)
                    await world.first()
                    return await attack(world)

        return asyncio.run(run())


def _accepts(plane: Plane, leaf: bytes) -> bool:
    with contextlib.suppress(CertError):
        return bool(plane.accepts(leaf))
    return False


async def used_while_unknown(world: World) -> bool:
    """An agent enforces a generation from before the CA: does its replica issue with it?"""
    (one,) = world.planes
    one.connect("slow")
    made = await one.cas.prepare(NODE)
    with contextlib.suppress(ControlPlaneError):
        await one.cas.activate(made.key_id, force=False)
    return one.made.node_ca.certificate.hex() == made.certificate


async def used_while_unheard(world: World) -> bool:
    """Agents of another replica cannot be heard: perhaps they do not know it."""
    (one,) = world.planes
    one.linked = False
    made = await one.cas.prepare(NODE)
    with contextlib.suppress(ControlPlaneError):
        await one.cas.activate(made.key_id, force=False)
    return one.made.node_ca.certificate.hex() == made.certificate


async def retired_leaf(world: World) -> bool:
    (one,) = world.planes
    leaf = await one.issue()
    old = next(row for row in await one.cas.all() if row.kind == "node")
    await one.cas.activate((await one.cas.prepare(NODE)).key_id, force=False)
    await one.cas.retire(old.key_id, force=True)
    return _accepts(one, leaf)


async def removed_replica(world: World) -> bool:
    """A replica was removed. Is its CA, or one that it asks for afterwards, believed?"""
    one, two = world.planes[0], await world.join("two")
    leaf = await two.issue()
    await join.remove(world.store, world.directory / "one", one.signer, "two", START)
    await one.publisher.refresh()
    return _accepts(one, leaf)


async def requested_by_the_removed(world: World) -> bool:
    one, two = world.planes[0], await world.join("two")
    await join.remove(world.store, world.directory / "one", one.signer, "two", START)
    return await _signed(world, one, await two.cas.prepare(NODE))


async def requested_in_the_name_of_another(world: World) -> bool:
    """Whoever writes to the store puts a key of its own into the request of a replica."""
    one, two = world.planes[0], await world.join("two")
    asked, thief = await two.cas.prepare(NODE), keys.generate_p256().public_key()
    forged = dataclasses.replace(asked, public=keys.spki(thief).hex(), key_id=bundle.key_id(thief))
    key = f"authority/ca/{asked.key_id}"
    await world.store.commit(expect={}, put={key: model.dump(forged)})
    return await _signed(world, one, forged)


async def _signed(world: World, one: Plane, asked: authority_rows.CaRow) -> bool:
    with contextlib.suppress(ControlPlaneError):
        await one.cas.sign_what_is_due()
    return any(row.public == asked.public and row.certificate for row in await one.cas.all())


async def row_with_a_strangers_ca(world: World) -> bool:
    """A row of ours names a CA that the root did not sign: does the replica issue with it?"""
    (one,) = world.planes
    stored = next(s for s in await one.cas.ours() if s.row.kind == "node")
    public = one.signer.public_key(stored.row.key_name)
    stranger = keys.generate_p256()
    root = authority.make_root(rotating.DOMAIN, stranger, serial=1, now=START)
    der = authority.make_issuing_ca(CaKind.NODE, root, stranger, public, serial=2, now=START)
    await world.store.commit(
        expect={},
        put={stored.key: model.dump(dataclasses.replace(stored.row, certificate=der.hex())), "mesh": b"{}"},
    )
    await one.publisher.refresh()
    return one.made.node_ca.certificate == der


async def signed_after_the_taint(world: World) -> bool:
    (one,) = world.planes
    (key,) = [s.row.key_id for s in await one.cas.ours() if s.row.kind == "node"]
    await one.tainting.taint(key, now=False, dry_run=False)
    with contextlib.suppress(ControlPlaneError):
        return bool(await one.issue())
    return False


async def believed_for_ever(world: World) -> bool:
    """One node never renews: is the stolen key believed until its CA ends?"""
    (one,) = world.planes
    leaf = await one.issue()
    (key,) = [s.row.key_id for s in await one.cas.ours() if s.row.kind == "node"]
    await one.tainting.taint(key, now=False, dry_run=False)
    world.clock.now += DAY
    await one.house()
    return any(row.key_id == key for row in await one.cas.all()) or _accepts(one, leaf)


def _again(world: World, asked: root_again.Request) -> root_again.Answer | None:
    """By whoever holds the root."""
    directory, now = world.directory / "one", int(world.clock())
    with contextlib.suppress(ControlPlaneError):
        return root_again.sign(asked, directory, world.planes[0].signer, now=now, crl_lifetime_s=DAY)
    return None


async def brought_back(world: World) -> bool:
    """A request that was kept since before a replica was removed: does its document key come back?"""
    one, two = world.planes[0], await world.join("two")
    kept = await root_again.request(one.store, one.made)
    await join.remove(one.store, world.directory / "one", one.signer, "two", int(world.clock()))
    assert _again(world, await root_again.request(one.store, one.made))
    given = _again(world, kept)
    return given is not None and two.made.document_key in delegated(given.delegation, one.made.root)


def delegated(text: str, root: bytes) -> frozenset[bytes]:
    return frozenset(replicas.read_delegation(text.encode(), root).keys)


async def left_out(world: World) -> bool:
    """A request that forgets a stolen CA: does the next list of the root?"""
    (one,) = world.planes
    stolen = verify.load(one.made.node_ca.certificate).serial_number
    (key,) = [s.row.key_id for s in await one.cas.ours() if s.row.kind == "node"]
    await one.tainting.taint(key, now=True, dry_run=False)
    asked = await root_again.request(one.store, one.made)
    assert _again(world, asked)
    given = _again(world, dataclasses.replace(asked, revoked=[], crl=""))
    assert given is not None
    found = crl.read(bytes.fromhex(given.crl), one.made.root).entries
    return stolen not in {entry.serial for entry in found}


async def undone_by_an_old_answer(world: World) -> bool:
    """The root's answer to a request from before a replica was removed, installed afterwards."""
    one, two = world.planes[0], await world.join("two")
    given = _again(world, await root_again.request(one.store, one.made))
    assert given is not None
    await join.remove(one.store, world.directory / "one", one.signer, "two", int(world.clock()))
    with contextlib.suppress(ControlPlaneError):
        await root_again.install(one.store, given, one.made)
    await one.publisher.refresh()
    return two.made.document_key in delegated(one.publisher.anchors.delegation.decode(), one.made.root)


CONTROLS = (
    Control(
        7,
        "root: signs nothing that it has replaced",
        [("a request that was kept", brought_back)],
        mutants.code(
            root_again,
            "sign",
            "if base.version < held.version and",
            "if False and",
            "max(base, held, key=lambda one: one.version)",
            "base",
        ),
    ),
    Control(
        12,
        "root: a list forgets nobody",
        [("a request that leaves one out", left_out)],
        mutants.code(root_again, "sign", "files.write(kept, crl)", "pass"),
    ),
    Control(
        7,
        "root: an answer follows what it was asked of",
        [("an answer from before a removal", undone_by_an_old_answer)],
        mutants.code(
            root_again,
            "install",
            "if renewed.version <= base.version or",
            "if False and",
            "if has.der and",
            "if False and",
        ),
    ),
    Control(
        12,
        "rotation: a CA is used once it is known",
        [
            ("an agent that has not heard of a CA", used_while_unknown),
            ("agents of a replica that cannot be heard", used_while_unheard),
        ],
        mutants.code(CaAuthorities, "activate", "if behind and not force:", "if False:"),
    ),
    Control(
        2,
        "rotation: what is retired is refused",
        [("a leaf of a retired CA", retired_leaf)],
        mutants.code(CaAuthorities, "retire", "delete=[chosen.key]", "delete=[]"),
    ),
    Control(
        2,
        "replicas: the CA of a removed one is gone",
        [("a leaf by a removed replica", removed_replica)],
        mutants.both(
            mutants.code(join, "remove", "*(stored.key for stored in gone),", ""),
            mutants.code(
                replicas,
                "anchors",
                "if stored.row.replica in names and stored.row.certificate",
                "if stored.row.certificate",
            ),
        ),
    ),
    Control(
        9,
        "rotation: the root signs for its own replicas",
        [
            ("a request of a removed replica", requested_by_the_removed),
            ("a request with a stranger's key", requested_in_the_name_of_another),
        ],
        mutants.code(CaAuthorities, "sign_what_is_due", "and await self._is_proven(one.row)", ""),
    ),
    Control(
        9,
        "rotation: a row is no proof",
        [("a row that names a stranger's CA", row_with_a_strangers_ca)],
        mutants.code(ca_rows, "issuing", "and _below_root(one.row, made)", ""),
    ),
    Control(
        9,
        "taint: nothing more is signed",
        [("a certificate after the taint", signed_after_the_taint)],
        mutants.code(Tainting, "taint", "state=TAINTED,", "state=ACTIVE,"),
    ),
    Control(
        12,
        "taint: a silent node does not keep it believed",
        [("a node that never renews", believed_for_ever)],
        mutants.code(tainting, "holders", "and one.row.not_after > now", ""),
    ),
)
