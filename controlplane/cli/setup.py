"""`writ init`: root, issuing CAs, document key, the first operator certificate and a context, in one step."""

import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli import context, output, session
from controlplane.cli.errors import CliError, Exit


class Store(StrEnum):
    """Where a control plane keeps its state."""

    sqlite = "sqlite"
    etcd = "etcd"


def init(
    trust_domain: Annotated[str, typer.Option(help="Name of the mesh, such as `acme.example`.")],
    directory: Annotated[
        Path, typer.Option("--dir", help="Where keys and state will live, mode 0700.")
    ] = Path("/var/lib/writ/controlplane"),
    config: Annotated[Path, typer.Option(help="Settings file to write.")] = Path(
        "/etc/writ/controlplane.toml"
    ),
    address: Annotated[str, typer.Option(help="host:port of the API.")] = "127.0.0.1:8443",
    enrolment: Annotated[str, typer.Option(help="host:port where nodes enrol.")] = "127.0.0.1:8444",
    operator: Annotated[str, typer.Option(help="Name in the first operator certificate.")] = "admin",
    replica: Annotated[str, typer.Option(help="Name of this control plane among its equals.")] = "replica-1",
    post_quantum: Annotated[
        bool,
        typer.Option("--post-quantum", help="Sign documents with ML-DSA-65 too; agents then accept no less."),
    ] = False,
    pkcs11_module: Annotated[str, typer.Option(help="Keys of CAs in a token: the vendor's library.")] = "",
    pkcs11_token: Annotated[str, typer.Option(help="Label of the token.")] = "",
    pkcs11_pin_file: Annotated[str, typer.Option(help="File with its PIN.")] = "",
    kms_file: Annotated[str, typer.Option(help="Keys of CAs in a service: which is which, as TOML.")] = "",
    store: Annotated[
        Store, typer.Option(help="One SQLite file, or etcd for several replicas.")
    ] = Store.sqlite,
    etcd_endpoint: Annotated[
        list[str] | None, typer.Option(help="Member of etcd, host:port. May be given more than once.")
    ] = None,
    etcd_prefix: Annotated[str, typer.Option(help="All keys begin with it: /writ/v1/<trust-domain>/.")] = "",
    etcd_kek_file: Annotated[
        str, typer.Option(help="Key that encrypts what etcd holds; made if not given.")
    ] = "",
    etcd_ca_file: Annotated[str, typer.Option(help="PEM: whom to believe as etcd.")] = "",
    etcd_certificate_file: Annotated[str, typer.Option(help="PEM: our certificate for etcd.")] = "",
    etcd_key_file: Annotated[str, typer.Option(help="PEM: its key.")] = "",
    etcd_user: Annotated[str, typer.Option(help="User of etcd.")] = "",
    etcd_password_file: Annotated[str, typer.Option(help="Its password.")] = "",
) -> None:
    """Make a new mesh: its root of trust, its keys, and your own operator certificate.

    Refuses a directory that already holds a root. Afterwards: `writ controlplane run`.
    """
    name = session.options.context or trust_domain
    command = [sys.executable, "-I", "-m", "controlplane", "init", "--trust-domain", trust_domain]
    command += ["--dir", str(directory), "--config", str(config), "--address", address]
    command += ["--enrolment", enrolment, "--replica", replica, "--store", store.value]
    command += ["--post-quantum"] if post_quantum else []
    command += [word for one in etcd_endpoint or () for word in ("--etcd-endpoint", one)]
    for option, value in (
        ("etcd-prefix", etcd_prefix),
        ("etcd-kek-file", etcd_kek_file),
        ("etcd-ca-file", etcd_ca_file),
        ("etcd-certificate-file", etcd_certificate_file),
        ("etcd-key-file", etcd_key_file),
        ("etcd-user", etcd_user),
        ("etcd-password-file", etcd_password_file),
        ("pkcs11-module", pkcs11_module),
        ("pkcs11-token", pkcs11_token),
        ("pkcs11-pin-file", pkcs11_pin_file),
        ("kms-file", kms_file),
    ):
        command += [f"--{option}", value] if value else []
    command += ["--operator", operator, "--context", name, "--out-context", str(context.config_path())]
    _run(command)
    if session.wants_json():
        output.emit_json({"context": name, "config": str(config), "trust_domain": trust_domain})
    else:
        output.note(f"mesh `{trust_domain}` is made, context `{name}` is in `{context.config_path()}`")
        output.note(f"next: writ controlplane run --config {config}")


def _run(command: list[str]) -> None:
    """What went wrong stands on stderr already."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise CliError(
            "nothing was made" if done.returncode == Exit.USAGE else "init failed",
            code=Exit(done.returncode) if done.returncode in set(Exit) else Exit.FAILED,
        )
