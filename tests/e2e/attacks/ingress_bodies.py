"""Bodies and paths that some server reads otherwise than we do: invariants 1 and 12."""

from attacks import mutants
from attacks.control import Control
from attacks.ingress import ask, chat

CONTROLS = (
    Control(
        1,
        "body: no duplicate keys",
        [
            ("wanted first", chat(b'{"model":"ngram","model":"secret"}')),
            ("wanted last", chat(b'{"model":"secret","model":"ngram"}')),
        ],
        mutants.script(
            "if key ~= folded or seen[key] then return nil end", "if key ~= folded then return nil end"
        ),
    ),
    Control(
        1,
        "body: no keys that fold into a wanted one",
        [
            ("upper case first", chat(b'{"MODEL":"secret","model":"ngram"}')),
            ("upper case last", chat(b'{"model":"ngram","Model":"secret"}')),
        ],
        mutants.script("local folded = lower(key)", "local folded = key"),
    ),
    Control(
        1,
        "body: no second spelling of a key",
        [
            ("an escaped key", chat(b'{"mod\\u0065l":"secret","model":"ngram"}')),
            ("a letter that folds", chat('{"\u017ftream":true,"model":"ngram"}'.encode())),
            ("an overlong letter", chat(b'{"\xc1\xadodel":"secret","model":"ngram"}')),
        ],
        mutants.script('if find(key, "[^ -~]") or find(key, "\\\\", 1, true) then return nil end', ""),
    ),
    Control(
        1,
        "body: a stream that lenient servers read otherwise",
        [("true as a string", chat(b'{"model":"ngram","stream":"true"}'))],
        mutants.script('if key == "stream" and type(found[key]) == "string" then return nil end', ""),
    ),
    Control(
        1,
        "body: only the top level counts",
        [
            ("a nested decoy before", chat(b'{"x":{"model":"ngram"},"model":"secret"}')),
            ("a nested decoy after", chat(b'{"model":"secret","x":{"model":"ngram"}}')),
            ("a decoy inside a string", chat(b'{"x":"\\"model\\":\\"ngram\\"","model":"secret"}')),
        ],
        mutants.script(
            "local found = text and scan(text, wanted)",
            'local found = text and find(text, "ngram", 1, true) and {model = "ngram"}',
        ),
    ),
    Control(
        1,
        "body: no other charset",
        [("UTF-7", ask(headers=[("content-type", "application/json; charset=utf-7")]))],
        mutants.script('if find(kind, "charset", 1, true)', "if false"),
    ),
    Control(
        1,
        "body: nothing after the object",
        [
            ("a second object", chat(b'{"model":"ngram"}{"model":"secret"}')),
            ("trailing text", chat(b'{"model":"ngram"} x')),
        ],
        mutants.script("return i == #s + 1 and found or nil", "return found"),
    ),
    Control(
        1,
        "body: nothing before the object",
        [("a byte order mark", chat(b'\xef\xbb\xbf{"model":"ngram"}'))],
        mutants.script(
            "local i, c = skip(s, 1)\n  if c ~= 123",
            'local i, c = skip(s, find(s, "{", 1, true) or 1)\n  if c ~= 123',
        ),
    ),
    Control(
        1,
        "body: no content encoding",
        [("gzip", ask(headers=[("content-encoding", "gzip")]))],
        mutants.script("if encoding ~= nil then return false end", ""),
    ),
    Control(
        1,
        "body: valid to its end",
        [
            ("unbalanced", chat(b'{"model":"ngram","x":[1,2}')),
            ("too deep", chat(b'{"model":"ngram","x":' + b"[" * 100 + b"]" * 100 + b"}")),
            ("an unterminated string", chat(b'{"model":"ngram","x":"y}')),
            ("not JSON", chat(b"model=ngram")),
            ("an array", chat(b'[{"model":"ngram"}]')),
            ("empty", chat(b"")),
            ("no body", ask(body=None)),
            ("an escaped value", chat(b'{"model":"ngr\\u0061m"}')),
            ("a number", chat(b'{"model":1}')),
            ("only a nested one", chat(b'{"x":{"model":"ngram"}}')),
        ],
        mutants.script("local found = text and scan(text, wanted)", 'local found = {model = "ngram"}'),
    ),
    Control(
        12,
        "body: within its bound",
        [("2 MiB where 1 MiB is allowed", chat(b'{"model":"ngram","x":"' + b"y" * (2 << 20) + b'"}'))],
        mutants.listener("ingress", "per_connection_buffer_limit_bytes", value=8 << 20),
    ),
)
