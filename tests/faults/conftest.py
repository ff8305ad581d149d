"""Each test says in its report which fault it is about, and what was counted: `tests/conftest.py` prints the table."""

import dataclasses
from collections.abc import Callable

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    found = getattr(getattr(item, "function", None), "case", None)
    if found is not None:
        item.user_properties.append(("fault", list(dataclasses.astuple(found))))


@pytest.fixture
def saw(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says a fact for the table: what was counted."""
    number = request.function.case.number
    return lambda fact: request.node.user_properties.append(("saw", [number, fact]))
