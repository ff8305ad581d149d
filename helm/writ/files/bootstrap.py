"""Make the mesh once, in memory, and keep what it is made of as two Secrets: the root's directory, and the first operator.
Whom agents believe, the root's SHA-256, is no secret, and goes into a ConfigMap.

The root's Secret comes last: while it is missing, nothing starts, and this runs again. What is there is never replaced.
"""

import base64
import hashlib
import io
import json
import os
import ssl
import subprocess
import sys
import tarfile
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
WORK = Path(os.environ.get("WORK_DIR", "/work"))
CONFIG = Path(os.environ.get("CONFIG_FILE", "/etc/writ/config/controlplane.toml"))
TIMEOUT_S = 15
MISSING, TAKEN = 404, 409


def main() -> None:
    wanted = os.environ["ROOT_SECRET"]
    if read("secrets", wanted) is not None:
        print(f"secret `{wanted}` is there: nothing to do")
        return
    root, operator = WORK / "root", WORK / "operator"
    if not (root / "authorities.json").exists():
        make(root, operator)
    keep("configmaps", os.environ["TRUST_CONFIGMAP"], {"root_sha256": root_sha256(root)})
    files = {path.name: base64.b64encode(path.read_bytes()).decode() for path in sorted(operator.iterdir())}
    keep("secrets", os.environ["OPERATOR_SECRET"], files)
    keep("secrets", wanted, {"state.tgz": base64.b64encode(packed(root)).decode()})
    print(f"mesh `{os.environ['TRUST_DOMAIN']}` is made")


def make(root: Path, operator: Path) -> None:
    domain = os.environ["TRUST_DOMAIN"]
    command = [
        sys.executable,
        "-I",
        "-m",
        "controlplane",
        "init",
        "--trust-domain",
        domain,
        "--dir",
        str(root),
    ]
    command += ["--config", str(WORK / "made.toml"), "--address", os.environ["API_ADDRESS"]]
    command += ["--enrolment", os.environ["ENROLMENT_ADDRESS"], "--operator", os.environ["OPERATOR"]]
    command += ["--context", domain, "--out-context", str(operator / "config.toml")]
    subprocess.run([*command, *etcd_options()], check=True)


def etcd_options() -> list[str]:
    replica = os.environ.get("REPLICA")
    if not replica:
        return []
    store = tomllib.loads(CONFIG.read_text())["store"]
    options = ["--replica", replica, "--store", "etcd"]
    for endpoint in store["endpoints"]:
        options += ["--etcd-endpoint", endpoint]
    for key, value in store.items():
        if key not in {"kind", "endpoints"}:
            options += [f"--etcd-{key.replace('_', '-')}", value]
    return options


def packed(directory: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(directory, arcname=".")
    return buffer.getvalue()


def root_sha256(directory: Path) -> str:
    document = json.loads((directory / "authorities.json").read_text())
    return hashlib.sha256(bytes.fromhex(document["root"])).hexdigest()


def keep(kind: str, name: str, data: dict[str, str]) -> None:
    """Create an object. One that is there must be what we would have created: an earlier run of ours was cut off."""
    labels = {"app.kubernetes.io/managed-by": "writ-bootstrap"}
    body: dict[str, object] = {"apiVersion": "v1", "metadata": {"name": name, "labels": labels}, "data": data}
    body |= {"kind": "Secret", "type": "Opaque"} if kind == "secrets" else {"kind": "ConfigMap"}
    try:
        call("POST", kind, "", body)
    except urllib.error.HTTPError as exc:
        if exc.code != TAKEN or read(kind, name) != data:
            sys.exit(
                f"error: {kind[:-1]} `{name}` cannot be created: {exc}\nhint: delete it if it is of an earlier mesh"
            )


def read(kind: str, name: str) -> dict[str, str] | None:
    try:
        return dict(call("GET", kind, f"/{name}", None).get("data", {}))
    except urllib.error.HTTPError as exc:
        if exc.code == MISSING:
            return None
        raise


def call(method: str, kind: str, path: str, body: dict[str, object] | None) -> dict[str, object]:
    host = f"https://{os.environ.get('KUBERNETES_SERVICE_HOST')}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}"
    base = os.environ.get("KUBERNETES_API", host)
    request = urllib.request.Request(
        f"{base}/api/v1/namespaces/{os.environ['NAMESPACE']}/{kind}{path}",
        method=method,
        data=json.dumps(body).encode() if body else None,
        headers={"content-type": "application/json"},
    )
    context = None
    if base.startswith("https:"):
        request.add_header("authorization", f"Bearer {(ACCOUNT / 'token').read_text()}")
        context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as reply:
        return dict(json.load(reply))


if __name__ == "__main__":
    try:
        main()
    except urllib.error.URLError as exc:
        sys.exit(
            f"error: the API server did not do it: {exc}\nhint: do the Job's Role and network policy allow it?"
        )
    except subprocess.CalledProcessError as exc:
        sys.exit(exc.returncode)  # it has said why
