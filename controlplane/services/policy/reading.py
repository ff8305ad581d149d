"""Files of policies, read in threads of their own: thousands take seconds, and heartbeats must not wait for them."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from policies import parse
from policies.syntax import Policy


async def load(files: Mapping[str, str]) -> tuple[Policy, ...]:
    """PolicyError with everything that is wrong."""
    return await asyncio.to_thread(_load, files)


def _load(files: Mapping[str, str]) -> tuple[Policy, ...]:
    with ThreadPoolExecutor(max_workers=1) as validating:
        return parse.load(files, validating.map)
