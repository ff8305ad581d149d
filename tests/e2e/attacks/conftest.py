"""Each attack says in its report what was stopped: `tests/conftest.py` prints the table."""

from collections.abc import Iterator

import pytest
from attacks.control import Tally


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    seen = Tally()
    yield seen
    request.node.user_properties.append(("attacks", [seen.invariant, dict(seen.stopped), seen.caught]))
