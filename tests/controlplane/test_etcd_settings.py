"""Settings that cannot work with etcd: one clear error with the way out, and nothing written anywhere."""

import base64
import subprocess
import sys

import pytest

from controlplane import config as settings
from controlplane.cli.demo.etcd import Etcd
from controlplane.errors import InvalidError

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def etcd(tmp_path_factory):
    with Etcd(tmp_path_factory.mktemp("etcd")) as running:
        yield running


def controlplane(*words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "controlplane", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def init(tmp_path, *etcd: str, name: str = "a") -> subprocess.CompletedProcess:
    words = ["init", "--trust-domain", "acme.example", "--dir", tmp_path / name, "--context", "c"]
    words += ["--config", tmp_path / f"{name}.toml", "--out-context", tmp_path / "cli" / "config.toml"]
    return controlplane(
        *words, "--address", "127.0.0.1:0", "--enrolment", "127.0.0.1:0", "--store", "etcd", *etcd
    )


def everything(etcd: Etcd) -> str:
    return etcd.control("get", "--prefix", "", "-w", "fields").partition('"Key"')[2]


@pytest.fixture(scope="module")
def made(etcd, tmp_path_factory):
    directory = tmp_path_factory.mktemp("made")
    prefix = ("--etcd-prefix", "/writ/v1/made/")
    done = init(directory, "--etcd-endpoint", etcd.endpoints[0], *prefix)
    assert done.returncode == 0, done.stderr
    return directory / "a.toml"


def test_init_without_an_etcd_leaves_nothing_behind(tmp_path) -> None:
    done = init(tmp_path, "--etcd-endpoint", "127.0.0.1:1")
    assert done.returncode == 6
    assert done.stderr.startswith("error: etcd `127.0.0.1:1` gives no answer")
    assert "hint: is it running" in done.stderr
    assert not (tmp_path / "a.toml").exists()
    assert not (tmp_path / "a").exists() or not any((tmp_path / "a").iterdir())
    assert not (tmp_path / "cli").exists()


def test_init_over_a_mesh_changes_neither_etcd_nor_disk(etcd, made, tmp_path) -> None:
    before = everything(etcd)
    done = init(tmp_path, "--etcd-endpoint", etcd.endpoints[0], "--etcd-prefix", "/writ/v1/made/")
    assert (done.returncode, "there is something under" in done.stderr) == (5, True)
    assert everything(etcd) == before
    assert not (tmp_path / "a.toml").exists()


def test_init_that_fails_on_disk_leaves_no_husk_in_etcd(etcd, tmp_path) -> None:
    (tmp_path / "a" / "keys").mkdir(parents=True)
    (tmp_path / "a" / "keys" / "root.pem").write_text("in the way")
    before = everything(etcd)
    done = init(tmp_path, "--etcd-endpoint", etcd.endpoints[0])
    assert (done.returncode, "key `root` exists" in done.stderr) == (5, True)
    assert everything(etcd) == before


def test_a_key_file_is_kept_and_is_not_in_etcd(etcd, made) -> None:
    kek = made.parent / "a" / "kek"
    assert oct(kek.stat().st_mode)[-3:] == "600"
    assert kek.read_text().strip() not in etcd.control("get", "--prefix", "")


@pytest.mark.parametrize(
    ("content", "code", "said", "hint"),
    [
        (None, 6, "cannot read the store's key file", "store.kek_file"),
        ("nonsense", 2, "is no key file", "one base64 key"),
        (base64.b64encode(b"x" * 32).decode(), 1, "is encrypted with another key", "the file has"),
    ],
)
def test_without_its_key_file_a_control_plane_does_not_start(
    etcd, made, tmp_path, content, code, said, hint
) -> None:
    kek = tmp_path / "kek"
    if content is not None:
        kek.write_text(content)
    other = tmp_path / "b.toml"
    other.write_text(made.read_text().replace(str(made.parent / "a" / "kek"), str(kek)))
    before = everything(etcd)
    done = controlplane("--config", other)
    assert (done.returncode, said in done.stderr, hint in done.stderr) == (code, True, True), done.stderr
    assert everything(etcd) == before


def test_a_newer_schema_is_refused(etcd, made) -> None:
    key, document = etcd.control("get", "/writ/v1/made/schema").split("\n", 1)
    etcd.control("put", key, document.strip().replace('"version": 1', '"version": 3'))
    before = everything(etcd)
    done = controlplane("--config", made)
    etcd_after = everything(etcd)
    etcd.control("put", key, document.strip())
    assert (done.returncode, "schema version 3, this program knows 2" in done.stderr) == (1, True)
    assert "upgrade this replica" in done.stderr
    assert etcd_after == before


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ('kind = "etcd"', "store.endpoints"),
        ('kind = "postgres"', "store.kind"),
        ('kind = "etcd"\nendpoints = ["a:1"]\nuser = "u"', "go together"),
        ('kind = "etcd"\nendpoints = ["a:1"]\ncertificate_file = "c"', "go together"),
        ('kind = "etcd"\nendpoints = ["a:1"]\ncertificate_file = "c"\nkey_file = "k"', "store.ca_file"),
        ('kind = "etcd"\nendpoints = ["a:1"]\nprefix = "no-slash"', "store.prefix"),
        ('kind = "etcd"\nendpoints = "a:1"', "store.endpoints"),
        ('kind = "etcd"\nendpoint = ["a:1"]', "store.endpoint"),
    ],
)
def test_settings_name_the_key_that_is_wrong(tmp_path, store, said) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f'trust_domain = "acme.example"\n[store]\n{store}\n')
    with pytest.raises(InvalidError, match=said):
        settings.load(path)
