"""Where the root is: make the next one, have the old one vouch for it, and let the new one delegate. Away from any control plane."""

from collections.abc import Sequence
from dataclasses import replace

from certs import authority, envelope, roots
from controlplane.authority_rows import RootChangeRow
from controlplane.errors import InvalidError
from controlplane.services.authority import standing as standings
from controlplane.services.authority.authorities import Authorities
from controlplane.services.authority.standing import ACTIVE, DONE, PREPARED
from controlplane.services.mesh import delegating, setup
from controlplane.services.mesh.replicas import read_delegation
from controlplane.signer.file import FileSigner
from policies import documents as d
from policies import payloads

Changes = tuple[RootChangeRow, ...]


def next_root(made: Authorities, signer: FileSigner, now: int) -> Changes:
    """All changes, with one more, prepared; the one that is prepared already, if there is one: its key must not be lost."""
    known = made.root_changes
    if known and known[-1].state == PREPARED:
        return known
    version = standings.FIRST + 1 + len(known)
    name = standings.key_name(version)
    if not signer.has(name):
        signer.create(name, "p256")
    old, old_key, key = made.now.signing, signer.ceremony_key(made.now.key_name), signer.ceremony_key(name)
    new = authority.make_root(made.trust_domain, key, serial=setup.new_serial(), now=now)
    cross = b""
    if roots.has_room(old):
        cross = authority.make_cross(new, old, old_key, serial=setup.new_serial(), now=now)
    change = d.RootChange(trust_domain=made.trust_domain, version=version, old=old, new=new, cross=cross)
    signers = [("old", made.signing(made.now.key_name)), ("new", made.signing(name))]
    sealed = envelope.sign_envelope(d.TYPE_ROOT_CHANGE, payloads.dump_root_change(change), signers)
    row = RootChangeRow(version=version, envelope=sealed.to_json().decode(), state=PREPARED, since=now)
    changes = (*(replace(one, state=DONE) for one in known), row)
    standings.of(made.root, made.trust_domain, changes)  # what does not hold is not given out
    return changes


def delegated(made: Authorities, signer: FileSigner, newest: bytes, now: int) -> tuple[Changes, bytes]:
    """By the next root, the delegation that follows `newest`; from then on this root signs here."""
    known: Sequence[RootChangeRow] = made.root_changes
    if not known:
        raise InvalidError(
            "there is no next root here", hint="writ root rotate prepare --root DIR --out FILE"
        )
    base = read_delegation(newest, *made.roots)
    changes = (*known[:-1], replace(known[-1], state=ACTIVE))
    after = standings.of(made.root, made.trust_domain, changes)
    if not signer.has(after.key_name):
        raise InvalidError(f"the key `{after.key_name}` is not here", hint="writ root restore")
    return changes, delegating.next_version(base, base.keys, made, now, by=after)
