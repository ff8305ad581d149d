"""What `writ authority` says of a mesh, as an operator reads it."""

import json

from commands import writ


def shown(mesh, *words: str) -> list[dict]:
    done = writ("authority", *words, "-o", "json", config=mesh.context_file)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def by_kind(mesh, state: str) -> dict[str, str]:
    return {one["kind"]: one["key_id"] for one in shown(mesh, "list") if one["state"] == state}


def refused(mesh, *words: str) -> tuple[int, str]:
    done = writ(*words, config=mesh.context_file)
    assert done.returncode != 0
    return done.returncode, done.stderr


def root_of(mesh):
    return mesh.directory / "controlplane"
