"""Settings of attestors, of both programs: what cannot be meant ends the start with one error that names the key."""

import pytest
from ca import Ca

from agent import config as agent_config
from agent.errors import ConfigError
from controlplane import attestors, config
from controlplane.attest.challenges import Challenges
from controlplane.errors import InvalidError

KUBERNETES = {
    "issuer": '"https://issuer.example"',
    "service_accounts": '["models/llama"]',
    "match": '"pod={node}"',
    "site": '"berlin"',
}
X509POP = {"ca_files": '["/CA"]', "match": '"dns={node}.{site}.dc.example"'}


def load(tmp_path, section: str, keys: dict[str, str]):
    (tmp_path / "ca.pem").write_bytes(Ca("machines").pem)
    lines = [f"{key} = {value}" for key, value in keys.items() if value]
    text = "\n".join(['trust_domain = "acme.example"', f"[{section}]", *lines]) + "\n"
    (tmp_path / "c.toml").write_text(text.replace("/CA", str(tmp_path / "ca.pem")))
    read = config.load(tmp_path / "c.toml").attest
    clock = lambda: 0  # noqa: E731
    return read, attestors.configured(read, object(), Challenges(clock), clock)


def test_without_a_section_there_are_join_tokens_of_tier_one(tmp_path) -> None:
    read, made = load(tmp_path, "log", {})
    assert (read.join_token_tier, read.x509pop, read.kubernetes) == (1, None, None)
    assert [(kind, known.tier, known.reattest_s) for kind, known in made.items()] == [("join_token", 1, 0)]


def test_a_section_makes_an_attestor_of_tier_two_that_asks_daily(tmp_path) -> None:
    for section, keys, kind in (("kubernetes", KUBERNETES, "kubernetes"), ("x509pop", X509POP, "x509pop")):
        _, made = load(tmp_path, section, keys)
        assert (made[kind].tier, made[kind].reattest_s) == (2, 86_400)
    read, _ = load(tmp_path, "x509pop", {**X509POP, "groups": '["fleet"]', "class_ceiling": "3", "tier": "4"})
    assert (read.x509pop.trust.attributes.groups, read.x509pop.trust.tier) == ({"fleet"}, 4)


@pytest.mark.parametrize(
    ("section", "changes", "match"),
    [
        ("join_token", {"tier": "5"}, "join_token.tier"),
        ("x509pop", {"tier": "-1"}, "x509pop.tier"),
        ("x509pop", {"reattest_s": '"1h"'}, "x509pop.reattest_s"),
        ("x509pop", {"roots": "[]"}, "x509pop.roots"),
        ("x509pop", {"match": ""}, "x509pop.match"),
        ("x509pop", {"match": '"pod={node}"'}, "must begin with one of cn=, dns=, uri="),
        ("x509pop", {"match": '"dns={node}-{site}"'}, "two ways"),
        ("x509pop", {"groups": '["Fleet"]'}, "x509pop"),
        ("x509pop", {"class_floor": "3", "class_ceiling": "1"}, "x509pop"),
        ("x509pop", {"ca_files": '["/nonexistent"]'}, "holds no certificates"),
        ("x509pop", {"ca_files": '["/dev/null"]'}, "holds no certificates"),
        ("kubernetes", {"issuer": '"http://issuer.example"'}, "is not https"),
        ("kubernetes", {"issuer": '"issuer.example"'}, "is not https"),
        ("kubernetes", {"api_server": '"https://api.example/path"'}, "is not https"),
        ("kubernetes", {"audience": '""', "site": '"berlin"'}, "kubernetes.audience"),
        ("kubernetes", {"service_accounts": ""}, "kubernetes.service_accounts"),
        ("kubernetes", {"service_accounts": '["llama"]'}, "namespace/name"),
        ("kubernetes", {"service_accounts": '["a/b/c"]'}, "namespace/name"),
        ("kubernetes", {"service_accounts": '["a/agent", "b/agent"]'}, "one namespace"),
        ("kubernetes", {"token_file": '"/t"'}, "kubernetes.api_server"),
        ("kubernetes", {"ca_file": '"/nonexistent"'}, "holds no certificates"),
        ("kubernetes", {"site": ""}, "{site} once"),
        ("kubernetes", {"site": '"Berlin"'}, "site"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path, section, changes, match) -> None:
    base = {"kubernetes": KUBERNETES, "x509pop": X509POP}.get(section, {})
    with pytest.raises(InvalidError, match=match):
        load(tmp_path, section, {**base, **changes})


def test_machines_of_several_namespaces_are_told_apart_by_machine(tmp_path) -> None:
    both = {"service_accounts": '["a/agent", "b/agent"]', "match": '"machine={node}"'}
    read, _ = load(tmp_path, "kubernetes", {**KUBERNETES, **both})
    assert read.kubernetes.service_accounts == ("a/agent", "b/agent")


ROOT = {"root_sha256": "ab" * 32, "enrolment": ["cp:8444"]}


@pytest.mark.parametrize(
    ("join", "attest", "match"),
    [
        (ROOT, {"certificate_file": "/c"}, "go together"),
        (ROOT, {"key_file": "/k"}, "go together"),
        (ROOT, {"certificate_file": "/c", "key_file": "/k", "kubernetes_token_file": "/t"}, "not both"),
        ({}, {"kubernetes_token_file": "/t"}, "whom to believe"),
        ({"root_sha256": "ab" * 32}, {"kubernetes_token_file": "/t"}, "where to enrol"),
        ({**ROOT, "root_sha256": "AB" * 32}, {"kubernetes_token_file": "/t"}, "64 hex digits"),
        ({**ROOT, "enrolment": [7]}, {"kubernetes_token_file": "/t"}, "list of host:port"),
        (ROOT, {"token": "/t"}, "unknown key `attest.token`"),
    ],
)
def test_an_agent_refuses_what_it_cannot_mean(tmp_path, join, attest, match) -> None:
    with pytest.raises(ConfigError, match=match):
        agent(tmp_path, join, attest)


def agent(tmp_path, join, attest) -> agent_config.Config:
    def lines(given) -> str:
        return "".join(f"{key} = {value!r}\n" for key, value in given.items())

    text = f'control_planes = ["cp:8443"]\n[join]\n{lines(join)}[attest]\n{lines(attest)}'
    (tmp_path / "a.toml").write_text(text)
    return agent_config.load(tmp_path / "a.toml", {})


def test_an_agent_takes_its_evidence_from_settings(tmp_path) -> None:
    assert not agent(tmp_path, {}, {}).attest
    made = agent(tmp_path, ROOT, {"kubernetes_token_file": "/t"})
    assert (str(made.attest.kubernetes_token_file), made.enrolment) == ("/t", ("cp:8444",))
