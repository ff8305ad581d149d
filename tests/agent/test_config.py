"""Settings of an agent that cannot be meant: one error, which names the key and says what to do."""

import pytest

from agent import config
from agent.errors import ConfigError

PLANE = 'control_planes = ["cp-1:8443"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "`control_plane.address` is missing"),
        (PLANE + "state = 1\n", "unknown key `state`"),
        (PLANE + "[lease]\nmax_s = 'long'\n", "`lease.max_s` must be of type int"),
        (PLANE + "[join]\nroot_sha256 = 'abc'\n", "`join.root_sha256` must be 64 hex digits"),
        (PLANE + "[attest]\ncertificate_file = 'c'\nkey_file = 'k'\n", "`attest` needs `join.root_sha256`"),
        (f'state_dir = "/{"d" * 91}"\n' + PLANE, "has 109 bytes in its path, at most 107 work"),
        (PLANE + f'[workload]\nsocket = "/{"d" * 107}"\n', "`workload.socket` is too long"),
        ("control_planes = [", "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, text, said) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        config.load(path, {})


def test_the_longest_state_directory_that_works_is_taken(tmp_path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f'state_dir = "/{"d" * 89}"\n{PLANE}')
    assert len(str(config.load(path, {}).state_dir / config.SOCKET)) == config.MAX_SOCKET
