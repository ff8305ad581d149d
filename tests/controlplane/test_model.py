"""Rows as they are stored: read by the version before, as long as they use nothing that it does not know."""

import json

import pytest

from controlplane import model
from controlplane.errors import CorruptError
from controlplane.model import NodeRow

ROW = NodeRow(trust_domain="acme.example", node="gpu-1", site="paris", jurisdiction="FR")


def test_what_is_as_it_is_by_default_is_not_written() -> None:
    """A field that a newer version adds is then no word that an older one stumbles over, until it is used."""
    assert json.loads(model.dump(ROW)).keys() == {"trust_domain", "node", "site", "jurisdiction"}
    used = json.loads(model.dump(NodeRow(**{**json.loads(model.dump(ROW)), "floor": 7})))
    assert used["floor"] == 7
    assert model.load(NodeRow, model.dump(ROW)) == ROW


def test_a_field_of_a_newer_version_is_refused_and_named() -> None:
    newer = json.dumps({**json.loads(model.dump(ROW)), "shunned": True}).encode()
    with pytest.raises(CorruptError, match="`shunned`, which this version does not know") as refused:
        model.load(NodeRow, newer)
    assert "upgrade" in refused.value.hint


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"null", b'{"node": 7}', b'{"node": "gpu-1"}'])
def test_what_is_no_row_is_refused(data) -> None:
    with pytest.raises(CorruptError):
        model.load(NodeRow, data)
