"""The root's list of revoked CAs as `openssl` reads it, and the ceremony that renews it and the delegation without the root at hand."""

import json
import shutil
import subprocess
from pathlib import Path

import clients
import pytest
from barenode import until
from commands import writ
from cryptography import x509

from agent import identity
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import Exit

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("cp"), lease_s=60, heartbeat_s=0.5) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        yield made


@pytest.fixture
def chain(mesh, tmp_path) -> tuple[bytes, bytes, bytes]:
    """Leaf, node CA and root of a node."""
    root, ca = clients.root_and_ca(mesh, clients.token(mesh, "probe"), tmp_path / "token")
    holder = clients.enrolled(mesh, clients.enrolment(mesh, ca), f"n-{tmp_path.name.replace('_', '-')[-20:]}")
    return (*holder.chain, root)


def lists(mesh: Mesh, path: Path) -> list[x509.CertificateRevocationList]:
    """Fetched as anybody does; and kept in `path`."""
    ran = writ("bundle", "crl", "--out", str(path), config=mesh.context_file)
    assert ran.returncode == 0, ran.stderr
    end = b"-----END X509 CRL-----\n"
    return [x509.load_pem_x509_crl(part + end) for part in path.read_bytes().split(end) if part]


def of_root(mesh: Mesh, chain, path: Path) -> x509.CertificateRevocationList | None:
    root = x509.load_der_x509_certificate(chain[2]).subject
    return next((one for one in lists(mesh, path) if one.issuer == root), None)


def openssl(tmp_path: Path, chain, crls: bytes) -> str:
    for name, der in zip(("leaf", "ca", "root"), chain, strict=True):
        (tmp_path / name).write_bytes(identity.pem(der))
    (tmp_path / "crls").write_bytes(crls)
    command = ["openssl", "verify", "-x509_strict", "-crl_check_all", "-CRLfile", str(tmp_path / "crls")]
    command += ["-CAfile", str(tmp_path / "root"), "-untrusted", str(tmp_path / "ca"), str(tmp_path / "leaf")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return "ok" if ran.returncode == 0 else ran.stdout + ran.stderr


def test_a_root_that_is_elsewhere_signs_again_what_is_carried_to_it(mesh, chain, tmp_path) -> None:
    state, safe = mesh.directory / "controlplane", tmp_path / "safe"
    shutil.copytree(state, safe, ignore=shutil.ignore_patterns("writ.db*"))
    (state / "keys" / "root.pem").unlink()
    try:
        until(lambda: of_root(mesh, chain, tmp_path / "crl") is not None)
        before = of_root(mesh, chain, tmp_path / "crl")
        asked, signed = str(tmp_path / "asked"), str(tmp_path / "signed")
        assert writ("root", "request", "--out", asked, config=mesh.context_file).returncode == 0
        renew = ("root", "renew", "--root", str(safe), "--request", asked, "--answer", signed)
        ran = writ(*renew, "--crl-days", "100", config=mesh.context_file)
        assert (ran.returncode, "for another year" in ran.stderr) == (0, True), ran.stderr
        done = writ("-o", "json", "root", "install", signed, config=mesh.context_file)
        assert done.returncode == 0, done.stderr
        installed, after = json.loads(done.stdout), of_root(mesh, chain, tmp_path / "crl")
        assert installed["delegation"] == 2
        assert (after.next_update_utc - after.last_update_utc).days == 100
        assert {one.serial_number for one in after} == {one.serial_number for one in before}
        assert writ("root", "install", signed, config=mesh.context_file).returncode == Exit.CONFLICT
        seen = writ("check", config=mesh.context_file)
        lines = [line.split() for line in seen.stdout.splitlines() if "authorities" in line]
        assert {(state, kind) for state, _, kind, *_ in lines} >= {("ok", "delegation"), ("ok", "root-crl")}
    finally:
        shutil.copy(safe / "keys" / "root.pem", state / "keys" / "root.pem")


def test_a_paper_that_is_none_is_refused_with_what_to_do(mesh, tmp_path) -> None:
    bad = tmp_path / "bad"
    bad.write_text('{"root": "00"}')
    ran = writ("root", "install", str(bad), config=mesh.context_file)
    assert (ran.returncode, "no answer of `writ root`" in ran.stderr) == (Exit.USAGE, True), ran.stderr
    words = ("root", "renew", "--root", str(mesh.directory / "controlplane"), "--request", str(bad))
    ran = writ(*words, "--answer", str(tmp_path / "none"), config=mesh.context_file)
    assert (ran.returncode, "no request of `writ root`" in ran.stderr) == (Exit.USAGE, True), ran.stderr
    assert not (tmp_path / "none").exists()


def test_every_level_of_a_chain_can_be_checked_and_a_revoked_ca_refuses_all_below_it(
    mesh, chain, tmp_path
) -> None:
    until(lambda: of_root(mesh, chain, tmp_path / "crl") is not None)
    before = (tmp_path / "crl").read_bytes()
    assert openssl(tmp_path, chain, before) == "ok"
    ca = x509.load_der_x509_certificate(chain[1])
    (key,) = [
        one["key_id"]
        for one in json.loads(writ("-o", "json", "authority", "list", config=mesh.context_file).stdout)
        if (one["kind"], one["state"]) == ("node", "active")
    ]
    ran = writ("--yes", "authority", "taint", key, "--now", config=mesh.context_file)
    assert ran.returncode == 0, ran.stderr

    def revoked() -> bool:
        found = of_root(mesh, chain, tmp_path / "crl")
        return (
            found is not None and found.get_revoked_certificate_by_serial_number(ca.serial_number) is not None
        )

    until(revoked)
    after = (tmp_path / "crl").read_bytes()
    assert "unable to get certificate CRL" in openssl(
        tmp_path, chain, after
    )  # nobody signs its own list any more
    assert "certificate revoked" in openssl(tmp_path, chain, after + before)
