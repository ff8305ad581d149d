"""Where a log's bytes are: c2sp.org/tlog-tiles paths, entry bundles, and hashes read from tiles.

Full tiles hold 256 hashes; partial ones say their width in the path. Entries are length-prefixed with two bytes.
"""

from collections.abc import Callable, Iterator, Sequence

from audit import merkle
from audit.errors import RecordError

WIDTH = 256
HEIGHT = 8  # levels per tile
MAX_ENTRY_BYTES = 65535
CHECKPOINT, COSIGNED = "checkpoint", "checkpoint.cosigned"
"""The newest checkpoint, and the newest one that a witness has cosigned: it may be a little behind."""
HASH_BYTES = 32
Read = Callable[[str], bytes | None]
"""Path -> content, None when there is no such file."""


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    return f"tile/{level}/{_number(index)}" + ("" if width == WIDTH else f".p/{width}")


def entries_path(index: int, width: int = WIDTH) -> str:
    return f"tile/entries/{_number(index)}" + ("" if width == WIDTH else f".p/{width}")


def _number(index: int) -> str:
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03d}")
    return "/".join(reversed(groups))


def bundle(entries: Sequence[bytes]) -> bytes:
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def entries(data: bytes) -> Iterator[bytes]:
    """The entries of a bundle; RecordError when it is torn."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        entry = data[at + 2 : at + 2 + size]
        if at + 2 > len(data) or len(entry) < size:
            raise RecordError(f"entry bundle is torn at byte `{at}`")
        yield entry
        at += 2 + size


def widths(size: int) -> Iterator[tuple[int, int, int]]:
    """(level, tile index, width) of every tile of a tree of `size`."""
    level = 0
    while count := size >> (HEIGHT * level):
        full, rest = divmod(count, WIDTH)
        yield from ((level, index, WIDTH) for index in range(full))
        if rest:
            yield level, full, rest
        level += 1


def reader(read: Read, size: int) -> merkle.Nodes:
    """Subtree hashes of a tree of `size` from its tiles; a few tiles are kept."""
    kept: dict[tuple[int, int], bytes] = {}

    def tile(level: int, index: int) -> bytes:
        if (level, index) not in kept:
            if len(kept) > WIDTH:
                kept.clear()
            width = min(WIDTH, (size >> (HEIGHT * level)) - index * WIDTH)
            data = read(tile_path(level, index, width))
            if data is None or len(data) != width * HASH_BYTES:
                raise RecordError(f"tile `{tile_path(level, index, width)}` is missing or torn")
            kept[level, index] = data
        return kept[level, index]

    def node(level: int, index: int) -> bytes:
        tile_level, inside = divmod(level, HEIGHT)
        first, span = index << inside, 1 << inside
        number, offset = divmod(first, WIDTH)
        data = tile(tile_level, number)
        hashes = [data[i * HASH_BYTES : (i + 1) * HASH_BYTES] for i in range(offset, offset + span)]
        return merkle.root_of(hashes)

    return node
