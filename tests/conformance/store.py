"""What every store must do: run by `tests/controlplane/test_store.py` for each adapter."""

import asyncio
import contextlib

import pytest

from controlplane.errors import ConflictError, InvalidError
from controlplane.store.base import Event, Store


class StoreConformance:
    """Subclasses give a `store` fixture."""

    async def test_what_is_committed_can_be_read(self, store: Store) -> None:
        revision = await store.commit(expect={}, put={"a": b"1", "b": b"2"})
        item = await store.get("a")
        assert item is not None
        assert (item.value, item.revision) == (b"1", revision)
        assert await store.get("c") is None

    async def test_a_list_is_in_key_order_and_says_its_revision(self, store: Store) -> None:
        await store.commit(expect={}, put={"x/2": b"", "x/1": b"", "y/1": b""})
        items, revision = await store.list("x/")
        assert [item.key for item in items] == ["x/1", "x/2"]
        assert revision == items[0].revision

    async def test_a_failed_compare_changes_nothing(self, store: Store) -> None:
        await store.commit(expect={"a": 0}, put={"a": b"1"})
        with pytest.raises(ConflictError):
            await store.commit(expect={"a": 0}, put={"a": b"2", "b": b"2"})
        assert (await store.get("a")).value == b"1"
        assert await store.get("b") is None

    async def test_of_fifty_that_create_one_key_one_wins(self, store: Store) -> None:
        async def create(number: int) -> bool:
            try:
                await store.commit(expect={"a": 0}, put={"a": str(number).encode()})
            except ConflictError:
                return False
            return True

        won = await asyncio.gather(*(create(number) for number in range(50)))
        assert sum(won) == 1
        assert (await store.get("a")).value == str(won.index(True)).encode()

    async def test_a_counter_that_many_raise_loses_no_step(self, store: Store) -> None:
        await store.commit(expect={}, put={"n": b"0"})

        async def raise_it() -> None:
            while True:
                item = await store.get("n")
                with contextlib.suppress(ConflictError):
                    await store.commit(
                        expect={"n": item.revision}, put={"n": str(int(item.value) + 1).encode()}
                    )
                    return

        await asyncio.gather(*(raise_it() for _ in range(30)))
        assert (await store.get("n")).value == b"30"

    async def test_a_deleted_key_is_gone_and_can_be_made_again(self, store: Store) -> None:
        first = await store.commit(expect={}, put={"a": b"1"})
        await store.commit(expect={"a": first}, put={}, delete=["a"])
        assert await store.get("a") is None
        await store.commit(expect={"a": 0}, put={"a": b"2"})

    async def test_a_watch_sees_each_later_change_once_and_in_order(self, store: Store) -> None:
        start = await store.commit(expect={}, put={"w/0": b"old"})
        seen: list[Event] = []

        async def watch() -> None:
            async for event in store.watch("w/", start):
                seen.append(event)
                if len(seen) == 20:
                    return

        watching = asyncio.ensure_future(watch())
        for number in range(19):
            await store.commit(expect={}, put={f"w/{number}": str(number).encode(), "other": b""})
        await store.commit(expect={}, put={}, delete=["w/0"])
        await asyncio.wait_for(watching, 10)
        assert [event.key for event in seen] == [*(f"w/{n}" for n in range(19)), "w/0"]
        assert seen[-1].value is None
        assert [event.revision for event in seen] == sorted({event.revision for event in seen})

    async def test_a_watch_resumes_where_it_left(self, store: Store) -> None:
        first = await store.commit(expect={}, put={"w/1": b""})
        await store.commit(expect={}, put={"w/2": b""})
        async with contextlib.aclosing(store.watch("w/", first)) as events:
            assert (await anext(events)).key == "w/2"

    async def test_what_no_store_could_hold_is_refused(self, store: Store) -> None:
        for put in (
            {"": b""},
            {"a" * 600: b""},
            {"a": b"x" * ((1 << 20) + 1)},
            {f"k{n}": b"" for n in range(101)},
        ):
            with pytest.raises(InvalidError):
                await store.commit(expect={}, put=put)

    async def test_what_is_too_much_together_is_refused_though_each_value_fits(self, store: Store) -> None:
        with pytest.raises(InvalidError):
            await store.commit(expect={}, put={"a": b"x" * (1 << 20), "b": b"x" * (100 << 10)})
        await store.commit(expect={}, put={"a": b"x" * (1 << 20)})

    async def test_several_lists_are_of_one_revision(self, store: Store) -> None:
        async def both() -> None:
            for number in range(30):
                await store.commit(expect={}, put={"p/n": str(number).encode(), "q/n": str(number).encode()})

        writing = asyncio.ensure_future(both())
        while not writing.done():
            await asyncio.sleep(0)
            (first, second), revision = await store.snapshot(["p/", "q/"])
            assert [item.value for item in first] == [item.value for item in second]
            assert all(item.revision <= revision for item in first)
        await writing

    async def test_commits_that_travel_together_fail_alone(self, store: Store) -> None:
        await store.commit(expect={}, put={"taken": b"", "gone": b""})

        async def one(number: int) -> str:
            key = "taken" if number % 3 == 0 else f"free/{number}"
            try:
                await store.commit(expect={key: 0}, put={key: b"", f"beside/{number}": b""})
            except ConflictError:
                return "refused"
            return "made"

        said = await asyncio.gather(*(one(number) for number in range(60)))
        assert said == ["refused" if number % 3 == 0 else "made" for number in range(60)]
        beside, _ = await store.list("beside/")
        assert len(beside) == 40

    async def test_commits_on_one_key_that_arrive_at_once_find_what_those_before_them_left(
        self, store: Store
    ) -> None:
        first = await store.commit(expect={}, put={"k/a": b"1"})
        results = await asyncio.gather(
            store.commit(expect={}, put={"k/a": b"2", "k/b": b""}),
            store.commit(expect={"k/a": first}, put={"k/a": b"late"}),
            store.commit(expect={}, put={}, delete=["k/a"]),
            store.commit(expect={"k/a": 0}, put={"k/a": b"3"}),
            store.commit(expect={}, put={}, delete=["k/a", "k/b"]),
            store.commit(expect={"k/a": 0, "k/b": 0}, put={"k/c": b"4"}),
            return_exceptions=True,
        )
        assert [isinstance(one, ConflictError) for one in results] == [False, True] + [False] * 4
        assert [item.key for item in (await store.list("k/"))[0]] == ["k/c"]
        seen = [await anext(watch) for watch in [store.watch("k/a", first)] for _ in range(4)]
        assert [event.value for event in seen] == [b"2", None, b"3", None]

    async def test_a_watch_that_lags_sees_every_change_once(self, store: Store) -> None:
        revisions = [await store.commit(expect={}, put={"k": str(number).encode()}) for number in range(30)]
        watch = store.watch("k", revisions[0])
        seen = [await anext(watch) for _ in range(10)]
        revisions += [await store.commit(expect={}, put={"k": b"more"}) for _ in range(20)]
        seen += [await anext(watch) for _ in range(39)]
        assert [event.revision for event in seen] == revisions[1:]

    async def test_its_health_is_told(self, store: Store) -> None:
        told = await store.health()
        assert told.kind in {"memory", "sqlite", "etcd"}
        assert all(member.up and member.leads and not member.errors for member in told.members)

    async def test_commits_on_one_key_keep_their_order(self, store: Store) -> None:
        await asyncio.gather(*(store.commit(expect={}, put={"k": str(n).encode()}) for n in range(40)))
        assert (await store.get("k")).value == b"39"
