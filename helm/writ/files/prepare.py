"""Give a replica its keys before it first starts: the first takes those that the mesh was made with, others join.

The root's own key stays behind, unless it is to be online: then the first replica has it, and signs the next CAs by itself. A
replica that has keys keeps them.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

STATE = Path(os.environ["STATE_DIR"])
WORK = Path(os.environ.get("WORK_DIR", "/work"))
MATERIAL = Path(os.environ.get("ROOT_MATERIAL", "/root-material/state.tgz"))
CONFIG = os.environ.get("CONFIG_FILE", "/etc/writ/config/controlplane.toml")


def main() -> None:
    if (STATE / "authorities.json").exists():
        print("this replica has its keys")
        return
    root = WORK / "root"
    try:
        with tarfile.open(MATERIAL) as archive:
            archive.extractall(root, filter="data")
    except (OSError, tarfile.TarError) as exc:
        sys.exit(
            f"error: `{MATERIAL}` is not what a mesh is made of: {exc}\nhint: secrets.existingRoot holds `state.tgz`"
        )
    try:
        replica = os.environ.get("WRIT_REPLICA__NAME")
        if replica in {None, os.environ["FIRST_REPLICA"]}:
            install(root)
        else:
            join(root)
    finally:
        shutil.rmtree(root)


def is_root(name: str) -> bool:
    """The key of a root: the first, or one that followed it."""
    return name == "root" or name.startswith("root-")


def install(root: Path) -> None:
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    (STATE / "keys").mkdir(mode=0o700, exist_ok=True)
    for path in sorted((root / "keys").iterdir()):
        if not is_root(path.stem) or os.environ.get("ROOT_ONLINE") == "true":
            place(path, STATE / "keys" / path.name)
    if (root / "appointed.json").exists():  # the first operator
        place(root / "appointed.json", STATE / "appointed.json")
    place(root / "authorities.json", STATE / "authorities.json")  # last: it says that all is there
    print("this replica has the keys that the mesh was made with")


def place(source: Path, target: Path) -> None:
    """Whole or not at all."""
    temporary = target.with_name(f".{target.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(source.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)


def join(root: Path) -> None:
    command = [sys.executable, "-I", "-m", "controlplane", "join", "--config", CONFIG, "--root", str(root)]
    passphrase = os.environ["WRIT_KEY_PASSPHRASE_FILE"]
    subprocess.run([*command, "--root-passphrase-file", passphrase], check=True)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as exc:
        sys.exit(exc.returncode)  # it has said why
