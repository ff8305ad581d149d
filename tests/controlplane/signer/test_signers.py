"""All signers pass one suite: files, a PKCS#11 token (SoftHSM), a service through securesystemslib; and what each refuses."""

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rotating
import workloads
from conformance import signer as suite
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs import authority, keys, verify
from certs.csr import make_csr, public_key_from_csr
from certs.document_keys import ALGORITHMS
from certs.profile import CaKind
from controlplane.errors import InvalidError, NotFoundError, PreconditionError, UnavailableError
from controlplane.services.mesh import setup
from controlplane.signer import kms
from controlplane.signer.device import DeviceSigner
from controlplane.signer.file import FileSigner
from controlplane.signer.pkcs11 import Pkcs11Signer
from controlplane.store.memory import MemoryStore

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
TOKEN, PIN, NOW = "writ-test", "2468", 1_800_000_000


@pytest.fixture(scope="module")
def token(tmp_path_factory):
    """A fresh token. The library is loaded once in a process, with the settings that it finds then."""
    if not MODULE.exists() or not shutil.which("softhsm2-util"):
        pytest.fail("SoftHSM is missing: scripts/clients installs it")
    directory = tmp_path_factory.mktemp("tokens")
    (directory / "softhsm2.conf").write_text(f"directories.tokendir = {directory}\n")
    os.environ["SOFTHSM2_CONF"] = str(directory / "softhsm2.conf")
    command = ["softhsm2-util", "--init-token", "--free", "--label", TOKEN, "--pin", PIN, "--so-pin", PIN]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return Pkcs11Signer(MODULE, TOKEN, PIN)


@pytest.fixture
def files(tmp_path) -> FileSigner:
    return FileSigner(tmp_path / "keys", b"p" * 32)


def p256() -> dict[str, str]:
    """Names that no other test has taken."""
    return {f"ca-{secrets.token_hex(4)}": "p256" for _ in range(2)}


def service(directory: Path, *names: str) -> kms.KmsSigner:
    """Keys that were made elsewhere; `file2` is the library's own way to one in a file."""
    lines = []
    for name in names:
        key = keys.generate_p256()
        (directory / f"{name}.pem").write_bytes(keys.dump_private(key, None))
        (directory / f"{name}.pub").write_bytes(public_pem(key.public_key()))
        lines += [f"[{name}]", f'uri = "file2:{directory / name}.pem"', f'public_key_file = "{name}.pub"']
    (directory / "kms.toml").write_text("\n".join(lines))
    return kms.load(directory / "kms.toml")


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_files_hold_every_kind(files, tmp_path) -> None:
    kinds = {f"{kind}-{number}": kind for kind in keys.KINDS for number in (1, 2)}
    suite.check(files, kinds)
    suite.check_refusals(files)
    again = FileSigner(tmp_path / "keys", b"p" * 32)
    assert all(again.has(name) for name in kinds)


@pytest.mark.clients
def test_a_token_holds_p256_keys_and_gives_none_away(token) -> None:
    names = p256()
    suite.check(token, names)
    suite.check_refusals(token)
    again = Pkcs11Signer(MODULE, TOKEN, PIN)
    assert all(keys.spki(again.public_key(name)) == keys.spki(token.public_key(name)) for name in names)
    private = token._one(token._session, next(iter(names)), token._pkcs11.ObjectClass.PRIVATE_KEY)
    attribute = token._pkcs11.Attribute
    assert (private[attribute.EXTRACTABLE], private[attribute.SENSITIVE]) == (False, True)
    with pytest.raises(token._pkcs11.PKCS11Error):
        _ = private[attribute.VALUE]
    for kind in ("ed25519", "ml-dsa-65", "rsa"):
        with pytest.raises(InvalidError):
            token.create(f"other-{kind}", kind)


def test_a_service_signs_with_keys_that_were_made_there(tmp_path) -> None:
    made = service(tmp_path, "ca-a", "ca-b")
    suite.check(made, {"ca-a": "p256", "ca-b": "p256"})
    suite.check_refusals(made)


@pytest.mark.clients
def test_a_token_that_cannot_be_opened_is_unavailable(token) -> None:
    for module, label in ((MODULE, "another"), (Path("/nonexistent.so"), TOKEN)):
        with pytest.raises(UnavailableError):
            Pkcs11Signer(module, label, PIN)
    script = "import sys; from pathlib import Path; from controlplane.signer.pkcs11 import Pkcs11Signer; Pkcs11Signer(Path(sys.argv[1]), *sys.argv[2:])"
    wrong = subprocess.run(
        [sys.executable, "-c", script, str(MODULE), TOKEN, "1111"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # in a process of its own: one that is logged in already is not asked again
    assert "PinIncorrect" in wrong.stderr
    assert "UnavailableError" in wrong.stderr


@pytest.mark.clients
def test_a_session_that_is_lost_is_opened_again(token) -> None:
    (name, _) = p256()
    public = token.create(name, "p256")
    token.sign(name, b"x")
    token._session.close()
    with pytest.raises(UnavailableError):
        token.sign(name, b"x")
    assert suite.verify(public, token.sign(name, b"x"), b"x")


def test_a_service_with_another_key_than_its_public_half_signs_nothing(tmp_path) -> None:
    made = service(tmp_path, "ca-a", "ca-b")
    made.sign("ca-a", b"x")
    made._open["ca-a"] = made._signer("ca-b")  # a service that mixes keys up
    with pytest.raises(UnavailableError, match="another key"):
        made.sign("ca-a", b"x")
    for uri in ("file2:/nonexistent", "nowhere:x", "", "awskms:x"):
        lost = kms.KmsSigner({"ca-a": kms.KmsKey(uri=uri, public=made._known["ca-a"].public)})
        with pytest.raises(UnavailableError):
            lost.sign("ca-a", b"x")


def test_a_file_of_keys_is_read_strictly(tmp_path) -> None:
    service(tmp_path, "ca-a")
    ed25519 = keys.generate_ed25519().public_key()
    (tmp_path / "ed.pub").write_bytes(public_pem(ed25519))
    (tmp_path / "bad.pub").write_bytes(b"x")
    for text in (
        "x", "ca-a = 1", '[ca-a]\nuri = "x"', '[ca-a]\nuri = "x"\npublic_key_file = "none"',
        '[ca-a]\nuri = "x"\npublic_key_file = "ed.pub"', '[ca-a]\nuri = "x"\npublic_key_file = "bad.pub"',
        '[ca-a]\nuri = "x"\npublic_key_file = "ca-a.pub"\nmore = 1',
    ):  # fmt: skip
        (tmp_path / "wrong.toml").write_text(text)
        with pytest.raises(InvalidError):
            kms.load(tmp_path / "wrong.toml")
    with pytest.raises(InvalidError):
        kms.load(tmp_path / "none.toml")


@pytest.mark.clients
def test_what_issues_is_in_the_device_and_the_rest_in_files(token, tmp_path) -> None:
    name = secrets.token_hex(4)
    signer = DeviceSigner(tmp_path / "keys", b"p" * 32, token)
    made = setup.make_mesh("acme.example", tmp_path, signer, NOW, name, ALGORITHMS)
    cas = {f"{kind.value}-ca-{name}" for kind in CaKind}
    assert all(token.has(one) for one in cas)
    assert {path.stem for path in (tmp_path / "keys").iterdir()} == {
        "root",
        "witness-1",
        f"documents-{name}",
        f"documents-{name}-ml-dsa-65",
    }
    assert not any(token.has(one) for one in ("root", "witness-1", f"documents-{name}"))
    operator, _ = setup.make_operator(made, "admin", NOW)  # signed in the token
    leaf = x509.load_pem_x509_certificates(operator.certificate)[0].public_bytes(serialization.Encoding.DER)
    cas = [made.control_plane_ca.certificate]
    assert verify.verify_operator(leaf, cas, "acme.example", NOW).is_operator


def test_a_service_keeps_every_ca_or_there_is_none(tmp_path) -> None:
    """A CA that is in no file of the operator's is not made in a file of ours instead; keys of tokens are."""
    names = [f"{kind.value}-ca-one" for kind in CaKind]
    signer = DeviceSigner(tmp_path / "keys", b"p" * 32, service(tmp_path, *names))
    setup.make_mesh("acme.example", tmp_path, signer, NOW, "one")
    signer.create("jwt-0123456789ab", "p256")
    assert {path.stem for path in (tmp_path / "keys").iterdir()} == {
        "root",
        "witness-1",
        "documents-one",
        "jwt-0123456789ab",
    }
    with pytest.raises(InvalidError, match="no P-256 key `node-ca-two` in the service"):
        signer.create("node-ca-two", "p256")
    assert not signer.has("node-ca-two")


async def in_service(tmp_path, *spare: str) -> rotating.World:
    """A mesh whose CAs are in a service from the beginning on, with some keys to go on with."""
    names = [f"{kind.value}-ca-one" for kind in CaKind]
    made = rotating.World(tmp_path, MemoryStore())
    await made.first(DeviceSigner(tmp_path / "one" / "keys", b"p" * 32, service(tmp_path, *names, *spare)))
    return made


async def test_cas_and_jwt_keys_of_a_service_follow_one_another_and_none_comes_back(tmp_path) -> None:
    world = await in_service(tmp_path, "jwt-1", "jwt-2", "node-ca-next")
    (one,) = world.planes
    assert (await one.jwt_keys.signing_key()).key_name == "jwt-1"
    files = {path.stem for path in (tmp_path / "one" / "keys").iterdir()}
    assert files == {"root", "witness-1", "documents-one"}
    second = await one.jwt_keys.prepare()
    assert second.key_name == "jwt-2"
    await one.jwt_keys.activate(second.key_id, force=True)
    await one.tainting.taint((await one.jwt_keys.all())[0].key_id, now=True, dry_run=False)
    with pytest.raises(PreconditionError, match="every key `jwt-…` of the service was used") as refused:
        await one.jwt_keys.prepare()
    assert "keys.kms_file" in refused.value.hint
    ca = await one.cas.prepare(CaKind.NODE)
    assert ca.key_name == "node-ca-next"
    await one.cas.activate(ca.key_id, force=True)
    for row in await one.cas.all():
        if row.kind == CaKind.NODE.value and row.key_id != ca.key_id:
            await one.tainting.taint(row.key_id, now=True, dry_run=False)
    assert one.accepts(await one.issue())
    with pytest.raises(PreconditionError, match="every key `node-ca-…` of the service was used"):
        await one.cas.prepare(CaKind.NODE)


async def test_a_service_without_jwt_keys_leaves_them_in_files_as_before(tmp_path) -> None:
    (one,) = (await in_service(tmp_path)).planes
    assert (await one.jwt_keys.signing_key()).key_name in {
        path.stem for path in (tmp_path / "one" / "keys").iterdir()
    }


async def test_what_a_mesh_of_before_has_taken_is_marked_when_it_starts(tmp_path) -> None:
    world = await in_service(tmp_path)
    (one,) = world.planes
    marked = [item.key for item in (await one.store.list("used-key/"))[0]]
    await one.store.commit(expect={}, put={}, delete=marked)
    await one.cas.begin()
    assert [item.key for item in (await one.store.list("used-key/"))[0]] == marked


@pytest.mark.clients
def test_a_key_in_a_device_asks_for_certificates_and_signs_them(token, tmp_path) -> None:
    """As a replica that joins, and as a CA in a ceremony: the builder is told of a key that it cannot see."""
    signer = DeviceSigner(tmp_path / "keys", b"p" * 32, token)
    (name, _) = p256()
    public = signer.create(name, "p256")
    key = signer.ceremony_key(name)
    assert keys.spki(public_key_from_csr(make_csr(key))) == keys.spki(public)
    root = authority.make_root("acme.example", key, serial=1, now=NOW)
    ca = authority.make_issuing_ca(CaKind.NODE, root, key, public, serial=2, now=NOW)
    verify.check_issuing_ca(ca, root, CaKind.NODE, NOW)
    with pytest.raises(InvalidError, match="does not leave"):
        keys.dump_private(key, None)
    with pytest.raises(NotFoundError):
        signer.ceremony_key("nobody")


@pytest.mark.slow
@pytest.mark.clients
def test_a_mesh_issues_with_keys_in_a_token_from_its_beginning_on(token, tmp_path) -> None:
    """`writ init` makes them there, the service signs with them, and a restart finds them again."""
    (tmp_path / "pin").write_text(f"{PIN}\n")
    options = (
        "--pkcs11-module",
        str(MODULE),
        "--pkcs11-token",
        TOKEN,
        "--pkcs11-pin-file",
        str(tmp_path / "pin"),
    )
    with workloads.one_node(init_options=options) as mesh:
        workloads.register(mesh, "web")
        with workloads.Workload(workloads.node_of(mesh).workload_socket) as caller:
            workloads.eventually(lambda: caller.names() == ["web"])
            assert caller.validate(caller.tokens("api")[0].svid)
            files = {path.stem for path in (mesh.directory / "controlplane" / "keys").iterdir()}
            assert files == {"root", "witness-1", "documents-replica-1", "evidence-replica-1"}
            mesh.control_plane.kill()
            mesh.control_plane.start()
            mesh.control_plane.ports()
            workloads.register(mesh, "db")
            workloads.eventually(lambda: caller.names() == ["web", "db"])
