"""Policies, read and checked in threads of their own: thousands take seconds, and heartbeats must not wait for them."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from policies import compile as compiler
from policies import parse
from policies.errors import Finding
from policies.hierarchy import Hierarchy
from policies.syntax import Policy


async def load(files: Mapping[str, str]) -> tuple[Policy, ...]:
    """PolicyError with everything that is wrong."""
    return await asyncio.to_thread(_load, files)


async def misfits(policies: Sequence[Policy], groups: Hierarchy) -> tuple[Finding, ...]:
    """What cannot be enforced once these groups are spelled out; as policies are written, `load` has checked them."""
    spelled = groups.spelled_out(policies)
    return () if spelled is policies else await asyncio.to_thread(compiler.check, spelled)


def _load(files: Mapping[str, str]) -> tuple[Policy, ...]:
    with ThreadPoolExecutor(max_workers=1) as validating:
        return parse.load(files, validating.map)
