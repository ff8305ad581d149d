"""From what evidence says to a node's name and site, by a template of the operator's: `dns={node}.{site}.dc.example`.

A template says which value is looked at (`dns`), and what all of it must be: text that is compared byte for byte, `{node}` once,
and `{site}` once unless the site is given beside it. Each stands for one DNS label. Two that only letters, digits or hyphens
part could be read in two ways: such a template is refused. Of several values exactly one name must come out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from certs import spiffe
from certs.errors import SpiffeIdError
from controlplane.errors import InvalidError, NotAttestedError

LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
PLACE = re.compile(r"\{([a-z]*)\}")
MAX_VALUE = 512  # of what a stranger sends: a template has no use for more


@dataclass(frozen=True, slots=True)
class Naming:
    """A template that was understood."""

    source: str
    text: str
    pattern: re.Pattern[str]
    site: str

    def name(self, values: Mapping[str, Sequence[str]]) -> tuple[str, str]:
        """(node, site) of evidence; NotAttestedError unless exactly one comes out."""
        given = values.get(self.source, ())
        found = {
            (match["node"], self.site or match["site"])
            for value in given
            if len(value) <= MAX_VALUE and (match := self.pattern.fullmatch(value))
        }
        if len(found) != 1:
            shown = ", ".join(value[:64] for value in given[:3]) or "nothing"
            raise NotAttestedError(f"`{self.source}={self.text}` names no one node: `{shown}`")
        return found.pop()

    def __str__(self) -> str:
        return f"{self.source}={self.text}"


def read(template: str, sources: Sequence[str], site: str) -> Naming:
    """InvalidError says what is wrong with a template."""
    source, equals, text = template.partition("=")
    if not equals or source not in sources:
        raise InvalidError(f"`{template}` must begin with one of {', '.join(f'{one}=' for one in sources)}")
    places = PLACE.findall(text)
    if sorted(places) != sorted(["node"] if site else ["node", "site"]):
        wanted = "{node} once" if site else "{node} once, and {site} once unless `site` is given"
        raise InvalidError(f"`{template}` must hold {wanted}")
    texts = PLACE.sub("\0", text).split("\0")
    if any(re.fullmatch(r"[a-z0-9-]*", between) for between in texts[1:-1]):
        raise InvalidError(f"`{template}` can be read in two ways: part its places by more than a-z 0-9 -")
    if any(one in "{}" for between in texts for one in between):
        raise InvalidError(f"`{template}` holds a brace that is no place")
    _check_site(site)
    pieces = [re.escape(texts[0])]
    for name, after in zip(places, texts[1:], strict=True):
        pieces += [f"(?P<{name}>{LABEL})", re.escape(after)]
    return Naming(source, text, re.compile("".join(pieces), re.ASCII), site)


def _check_site(site: str) -> None:
    if site:
        try:
            spiffe.dns_label(site)
        except SpiffeIdError as exc:
            raise InvalidError(f"site: {exc}") from exc
