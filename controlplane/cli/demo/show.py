"""How the demo speaks: for each step the command, what was expected, what was seen, and how long it took.

Plain lines without a terminal; at the end every expectation beside what happened.
"""

import os
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One expectation."""

    step: str
    what: str
    expected: str
    seen: str
    ms: float

    @property
    def good(self) -> bool:
        return self.expected == self.seen


class Show:
    """Prints as it goes, and remembers."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._step = ""
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.started = time.perf_counter()

    def step(self, title: str) -> None:
        self._step = title.partition(".")[0]
        self._print(f"\n{self._paint('1', title)}")

    def command(self, text: str) -> None:
        """What an operator or application would type for this."""
        self._print(f"  $ {text}")

    def fact(self, text: str) -> None:
        self._print(f"    {text}")

    def check(self, what: str, expected: str, seen: str, ms: float = 0.0) -> None:
        row = Row(step=self._step, what=what, expected=expected, seen=seen, ms=ms)
        self.rows.append(row)
        mark = self._paint("32", "ok ") if row.good else self._paint("31", "BAD")
        took = f"  ({ms:.0f} ms)" if ms else ""
        self._print(f"  {mark} {what}: {seen}{took}" + ("" if row.good else f"   expected: {expected}"))

    def summary(self) -> bool:
        """Expected beside seen, for all; True if nothing differs."""
        self._print(f"\n{self._paint('1', 'Expected beside seen')}")
        widths = [max(len(getattr(row, name)) for row in self.rows) for name in ("what", "expected")]
        for row in self.rows:
            mark = "=" if row.good else "!"
            took = f"{row.ms:8.0f} ms" if row.ms else " " * 11
            self._print(
                f"  {row.step:>2} {row.what.ljust(widths[0])}  {row.expected.ljust(widths[1])}  {mark}  {row.seen}{took}"
            )
        bad = sum(1 for row in self.rows if not row.good)
        took_s = time.perf_counter() - self.started
        self._print(f"\n{len(self.rows) - bad} of {len(self.rows)} as expected, in {took_s:.1f} s")
        return bad == 0

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _print(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
