"""What a command prints. Results go to stdout, as a table for people or JSON for programs; everything else to stderr.

Without a terminal tables are plain text. Errors have no capital and no period; the hint stands on a line of its own.
`rich` is imported when a table is drawn, not before: `writ --help` must not pay for it.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters: a name from the network must not drive the terminal."""


def safe(text: object) -> str:
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(text))


def emit_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def emit_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "nothing to show"
) -> None:
    """Columns aligned by content; long cells wrap on a terminal and are left whole in a pipe."""
    cells = [[safe(cell) for cell in row] for row in rows]
    if not cells:
        note(empty)
    elif sys.stdout.isatty():
        _rich_table(columns, cells)
    else:
        widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
        for row in [list(columns), *cells]:
            sys.stdout.write(
                "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() + "\n"
            )


def _rich_table(columns: Sequence[str], cells: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*row)
    Console().print(table, markup=False)


def emit_fields(fields: Mapping[str, object]) -> None:
    """One thing, field by field."""
    width = max(map(len, fields))
    for name, value in fields.items():
        sys.stdout.write(f"{name.ljust(width)}  {safe(value)}\n")


def note(text: str) -> None:
    sys.stderr.write(f"{safe(text)}\n")


def progress(text: str) -> None:
    """How far it is, on a line that the next one overwrites; nothing when nobody watches. Empty: done."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{safe(text)}")
        sys.stderr.flush()


def clear() -> None:
    """An empty screen to draw on; nothing in a pipe."""
    if sys.stdout.isatty():
        sys.stdout.write("\x1b[H\x1b[2J")


def error(text: str, hint: str = "") -> None:
    bold, plain = (
        ("\x1b[1;31m", "\x1b[0m") if sys.stderr.isatty() and "NO_COLOR" not in os.environ else ("", "")
    )
    sys.stderr.write(f"{bold}error:{plain} {safe(text)}\n")
    if hint:
        sys.stderr.write(f"hint: {safe(hint)}\n")


def when(unix_s: int) -> str:
    """A time people and programs can read; `-` for none."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if unix_s else "-"
