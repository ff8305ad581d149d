"""What the holder of the root does, away from any control plane: `root-sign`, `root-renew`, `root-prepare` and `root-delegate`, `root-backup`,
`root-restore`.
"""

import argparse
import getpass
import os
import sys
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from certs.profile import CA_LIFETIME_S
from controlplane.errors import ExistsError, InvalidError, UnavailableError
from controlplane.services.authority import authorities, root_files
from controlplane.services.authority.authorities import Authorities
from controlplane.services.mesh import root_again, root_keeping, root_making, setup
from controlplane.signer.file import FileSigner

DAY_S = 86_400


def sign(arguments: argparse.Namespace) -> None:
    """Requests of `writ authority prepare --csr` in, certificates for `--certificate` out."""
    made, signer = _root(arguments.root, arguments.root_passphrase_file)
    try:
        blocks = x509_requests(_read(arguments.csr))
    except ValueError as exc:
        raise InvalidError(f"`{arguments.csr}` holds no signing requests") from exc
    lifetime_s = arguments.days * DAY_S if arguments.days else CA_LIFETIME_S
    signed = root_keeping.sign(made, signer, blocks, now=int(time.time()), lifetime_s=lifetime_s)
    arguments.certificate.write_bytes(setup.pem(*signed))


def renew(arguments: argparse.Namespace) -> None:
    """A request of `writ root request` in, what `writ root install` takes out; and for the holder, what was signed."""
    made, signer = _root(arguments.root, arguments.root_passphrase_file)
    asked = root_again.load_request(_read(arguments.request).decode("utf-8", "replace"))
    now, lifetime_s = int(time.time()), arguments.crl_days * DAY_S
    given = root_again.sign(asked, arguments.root, signer, now=now, crl_lifetime_s=lifetime_s)
    arguments.answer.write_text(root_again.dumped(given))
    sys.stderr.write("".join(f"{line}\n" for line in root_again.told(asked, given, made.now.signing)))


def prepare(arguments: argparse.Namespace) -> None:
    """The next root, and the change to it, signed by both. Asked for again, the same."""
    made, signer = _root(arguments.root, arguments.root_passphrase_file)
    changes = root_making.next_root(made, signer, int(time.time()))
    root_files.save(arguments.root, changes)
    arguments.out.write_text(changes[-1].envelope)


def delegate(arguments: argparse.Namespace) -> None:
    """The newest delegation in, the next one by the next root out."""
    made, signer = _root(arguments.root, arguments.root_passphrase_file)
    changes, given = root_making.delegated(made, signer, _read(arguments.request), int(time.time()))
    root_files.save(arguments.root, changes)
    arguments.out.write_bytes(given)


def backup(arguments: argparse.Namespace) -> None:
    """Write the sealed root; with `--remove`, take its key out of the directory afterwards."""
    root, signer = _root(arguments.root, arguments.root_passphrase_file)
    if arguments.out.exists():
        raise ExistsError(f"`{arguments.out}` exists", hint="a backup is not overwritten")
    if arguments.shares:
        made = root_keeping.backup(
            arguments.root, signer, shares=(arguments.shares, arguments.threshold or arguments.shares)
        )
    else:
        given = _passphrase(arguments.passphrase_file, twice=True)
        made = root_keeping.backup(arguments.root, signer, passphrase=given)
    for number, share in enumerate(made.shares, 1):
        _write_new(arguments.out.with_name(f"{arguments.out.name}.share-{number}"), share.encode() + b"\n")
    _write_new(arguments.out, made.sealed)
    if arguments.remove:
        for name in root_keeping.names(root, signer):
            signer.destroy(name)


def restore(arguments: argparse.Namespace) -> None:
    """The root out of a backup, into a directory that `--root` can name."""
    shares = tuple(_read(path).decode().strip() for path in arguments.share or ())
    data = _read(arguments.backup)
    secret = b"" if shares else _passphrase(arguments.passphrase_file, twice=False)
    kept = root_keeping.opened(data, passphrase=secret, shares=shares)
    directory: Path = arguments.root
    named = arguments.root_passphrase_file or directory / "passphrase"
    passphrase = setup.prepare_directory(directory, named)
    root_keeping.restore(kept, directory, FileSigner(directory / "keys", passphrase))


def x509_requests(pem: bytes) -> list[bytes]:
    """DER of every PKCS#10 block; ValueError when there is none."""
    end = b"-----END CERTIFICATE REQUEST-----"
    blocks = [block + end for block in pem.split(end)[:-1]]
    if not blocks:
        raise ValueError("no blocks")
    loaded = map(x509.load_pem_x509_csr, blocks)
    return [one.public_bytes(serialization.Encoding.DER) for one in loaded]


def _root(directory: Path, passphrase_file: Path | None) -> tuple[Authorities, FileSigner]:
    path = passphrase_file or directory / "passphrase"
    signer = FileSigner(directory / "keys", _read(path).strip())
    return authorities.load(directory, signer), signer


def _passphrase(path: Path | None, *, twice: bool) -> bytes:
    """From a file, or from whoever sits at the terminal."""
    if path is not None:
        return _read(path).strip()
    if not sys.stdin.isatty():
        raise InvalidError("the backup needs a passphrase", hint="--passphrase-file, or --shares")
    given = getpass.getpass("passphrase of the backup: ")
    if twice and getpass.getpass("again: ") != given:
        raise InvalidError("the passphrases differ")
    return given.encode()


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise UnavailableError(f"cannot read `{path}`: {exc.strerror}") from exc
