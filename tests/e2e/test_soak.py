"""Two minutes of an accelerated day: certificates of three nodes are rotated under load, and not one request fails."""

import pytest

from benchmarks import soak

SECONDS = 120


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_no_request_fails_while_every_node_is_given_new_certificates(tmp_path) -> None:
    found = soak.soak(tmp_path, SECONDS)
    assert (found.requests.broken, set(found.requests.statuses)) == (0, {200})
    assert (found.broken_streams, found.streams) == (0, 2)
    assert all(count >= 3 for count in found.certificates.values()), found.certificates
