"""Files of an operator -> the texts of single policies, and the links of templates. Bounds are held before Cedar reads.

(1) A file is UTF-8 and at most 1 MiB; there are at most 10,000 policies in all, a link being one.
(2) Every policy is whole, and nests no deeper than a parser that calls itself can bear.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from policies import lexer, templates
from policies.errors import Finding, PolicyError
from policies.grammar import MAX_POLICIES

MAX_FILE_BYTES = 2**20
MAX_NESTING = 500  # Cedar's parser is recursive: at some thousand levels it takes its process down


@dataclass(frozen=True, slots=True)
class Source:
    """A file: policies and templates, or links."""

    file: str
    chunks: tuple[lexer.Chunk, ...] = ()
    links: tuple[templates.Link, ...] = ()


def read(files: Mapping[str, str | bytes]) -> tuple[list[Source], list[Finding]]:
    """What can be read, in the order of file names, and why the rest cannot.

    PolicyError where there is more than anybody looks at: what else is wrong would only take time.
    """
    found: list[Source] = []
    findings: list[Finding] = []
    room = MAX_POLICIES
    for name in sorted(files):
        try:
            source = _open(name, files[name])
        except PolicyError as exc:
            findings += exc.findings
            continue
        items: tuple[lexer.Chunk | templates.Link, ...] = (*source.chunks, *source.links)
        if len(items) > room:
            raise PolicyError(
                _finding("W-COUNT", name, items[room].line, f"more than {MAX_POLICIES} policies")
            )
        room -= len(items)
        found.append(source)
    return found, findings


def _open(name: str, data: str | bytes) -> Source:
    text = _decode(name, data)
    if name.endswith(templates.SUFFIX):
        return Source(name, links=tuple(templates.read(name, text)))
    chunks = lexer.split(text)
    findings = tuple(_unreadable(name, chunks))
    if findings:
        raise PolicyError(*findings)
    return Source(name, chunks=chunks)


def _decode(name: str, source: str | bytes) -> str:
    data = source if isinstance(source, bytes) else source.encode("utf-8", "surrogatepass")
    if len(data) > MAX_FILE_BYTES:
        raise PolicyError(_finding("W-SIZE", name, 1, f"file is larger than {MAX_FILE_BYTES} bytes"))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise PolicyError(_finding("W-ENCODING", name, line, "file is not UTF-8")) from exc


def _unreadable(name: str, chunks: tuple[lexer.Chunk, ...]) -> Iterator[Finding]:
    """(2)"""
    for chunk in chunks:
        if not chunk.complete:
            yield _finding("W-SYNTAX", name, chunk.line, "policy has no `;` at its end")
        if lexer.nests_deeper(chunk.text, MAX_NESTING):
            yield _finding("W-COMPLEX", name, chunk.line, "the policy nests too deeply", "split it")


def _finding(code: str, file: str, line: int, message: str, hint: str = "") -> Finding:
    return Finding(code=code, file=file, line=line, policy="", message=message, hint=hint)
