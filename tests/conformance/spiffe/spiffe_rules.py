"""The rules of the SPIFFE standards, one line each, and for those that we do not meet, why.

`test_table` holds this list against the tests and against docs/spiffe-conformance.md: a rule is met if and only if it has
tests, `test_<id>_…`, and they are not skipped. M: must, S: should, -: a choice that the standard leaves open.
"""

from typing import NamedTuple


class Rule(NamedTuple):
    level: str
    text: str
    unmet: str = ""


RULES: dict[str, Rule] = {
    # SPIFFE-ID
    "ID-01": Rule("M", "the scheme is `spiffe`"),
    "ID-02": Rule("M", "the trust domain is not empty"),
    "ID-03": Rule("M", "no query and no fragment, not even an empty one"),
    "ID-04": Rule("M", "no user and no port"),
    "ID-05": Rule("M", "trust domain: lower case, `[a-z0-9.-_]` and nothing else"),
    "ID-06": Rule("M", "no percent-encoding anywhere"),
    "ID-07": Rule("M", "a dotted quad is a name like any other; an IPv6 address is none"),
    "ID-08": Rule("M", "no empty and no dot segments"),
    "ID-09": Rule("M", "no slash at the end"),
    "ID-10": Rule("M", "path segments: `[a-zA-Z0-9.-_]` and nothing else"),
    "ID-11": Rule("M", "IDs of 2048 bytes are understood, longer ones never made"),
    "ID-12": Rule("M", "trust domains of 255 bytes are possible, longer ones are not"),
    "ID-13": Rule(
        "-", "case: we refuse upper case in scheme and trust domain, so that no two texts are one principal"
    ),
    "ID-14": Rule("M", "ID and key are inside what is signed"),
    "ID-15": Rule("S", "the SPIFFE ID of a signing authority is the trust domain"),
    # X509-SVID
    "X-01": Rule("M", "exactly one URI SAN; other kinds of SAN are allowed"),
    "X-02": Rule("M", "the URI SAN is a SPIFFE ID"),
    "X-03": Rule("M", "a leaf's ID has a path"),
    "X-04": Rule("M", "SAN is critical where the subject is empty; ours never is"),
    "X-05": Rule("M", "a leaf is no CA, and a CA is no identity"),
    "X-06": Rule("M", "signing certificates are CAs with keyCertSign"),
    "X-07": Rule("M", "a signing certificate's SPIFFE ID has no path"),
    "X-08": Rule("M", "signing certificates authenticate nobody"),
    "X-09": Rule("M", "key usage is there and critical"),
    "X-10": Rule("M", "a leaf has digitalSignature, and neither keyCertSign nor cRLSign"),
    "X-11": Rule("M", "extended key usage: client and server"),
    "X-12": Rule("M", "path validation of RFC 5280, by others' verifiers too"),
    "X-13": Rule("M", "the bundle is the one of the peer's trust domain"),
    "X-14": Rule("M", "bundle entry: `use` x509-svid, no `kid`, one DER certificate in base64"),
    "X-15": Rule("M", "an entry without `x5c` is ignored; of several certificates the first counts"),
    "X-16": Rule("-", "name constraints: we issue none"),
    # JWT-SVID
    "J-01": Rule("M", "JWS in compact form only"),
    "J-02": Rule("M", "header: `alg`, `kid`, `typ`, and nothing else"),
    "J-03": Rule("M", "algorithm from the list, judged before anything else; we accept ES256 alone"),
    "J-04": Rule("M", "`typ` is JWT or JOSE"),
    "J-05": Rule("M", "`sub` is the SPIFFE ID"),
    "J-06": Rule("M", "`aud` is there and holds the validator's own"),
    "J-07": Rule("M", "`exp` is there and not past"),
    "J-08": Rule("M", "the key is from the bundle of the trust domain of `sub`"),
    "J-09": Rule("M", "bundle entry: `use` jwt-svid with a `kid`; other keys verify no token"),
    "J-10": Rule("S", "sent as a bearer token, which arrives as it was sent"),
    "J-11": Rule("-", "`iat` decides nothing: clocks differ"),
    "J-12": Rule("-", "one audience where one is asked for; `jti` in every token"),
    # Trust bundle
    "B-01": Rule("M", "a JWK Set; `keys` is there"),
    "B-02": Rule("M", "no key: every SVID of the trust domain is invalid"),
    "B-03": Rule("M", "`spiffe_sequence` grows with every change, past 2^53 too"),
    "B-04": Rule("M", "`spiffe_refresh_hint` in seconds; five minutes if absent"),
    "B-05": Rule("M", "unknown `kty` and `use` are ignored; case matters"),
    "B-06": Rule("M", "no parameter beyond the standard's is needed"),
    "B-07": Rule("M", "bundle map: distinct trust domains"),
    "B-08": Rule("M", "bundle map: its refresh is its own"),
    "B-09": Rule("M", "bundles of different trust domains are never merged"),
    # Workload Endpoint and API
    "W-01": Rule("M", "a Unix socket; no TCP"),
    "W-02": Rule("M", "the security header, exactly, or InvalidArgument"),
    "W-03": Rule("M", "no TLS, nothing asked of the workload: the kernel attests"),
    "W-04": Rule("M", "clients: SPIFFE_ENDPOINT_SOCKET, `unix` or `tcp`, and nothing more in it"),
    "W-05": Rule("M", "the API is not extended in place"),
    "W-06": Rule("M", "X.509 and JWT profiles"),
    "W-07": Rule("M", "WIT calls are answered Unimplemented"),
    "W-08": Rule("M", "every message of a stream is the whole state"),
    "W-09": Rule("M", "the first message comes at once"),
    "W-10": Rule("M", "clients drop what came back empty"),
    "W-11": Rule("S", "a mandatory field that is empty: InvalidArgument"),
    "W-12": Rule("S", "no identity: PermissionDenied; not yet: Unavailable"),
    "W-13": Rule(
        "S", "revoked: open streams end with PermissionDenied, and clients stop using what they had"
    ),
    "W-14": Rule("M", "hints are unique in an answer"),
    "W-15": Rule("M", "the first identity is the default, and stays the first"),
    "W-16": Rule("M", "at least one SVID, at least the own bundle"),
    "W-17": Rule("M", "bundles are listed by the SPIFFE ID of the trust domain"),
    "W-18": Rule("M", "JWT bundles are plain JWK Sets without other uses"),
    "W-19": Rule("M", "one token for each identity, or for the one that is named"),
    "W-20": Rule("M", "ValidateJWTSVID applies all of J; the SPIFFE claims come back"),
    "W-21": Rule("M", "PKCS#8 and certificates in DER, key not encrypted"),
    "W-22": Rule("S", "no update without a change; renewals spread"),
    "W-23": Rule("S", "clients reconnect, and do not retry what is hopeless"),
    # Federation
    "F-01": Rule("M", "the endpoint serves the newest bundle"),
    "F-02": Rule("M", "clients support https_web and https_spiffe"),
    "F-03": Rule("M", "the endpoint wants no client authentication"),
    "F-04": Rule("M", "https URLs without user"),
    "F-05": Rule("M", "TLS as Mozilla's intermediate profile"),
    "F-06": Rule("M", "configured by URL, profile and trust domain"),
    "F-07": Rule("M", "https_web: the host is verified"),
    "F-08": Rule("M", "https_spiffe: exactly the endpoint's SPIFFE ID"),
    "F-09": Rule("M", "self-serving: the latest bundle verifies the next"),
    "F-10": Rule("M", "not self-serving: the endpoint's trust domain is configured"),
    "F-11": Rule("S", "redirects under the same rules"),
    "F-12": Rule("S", "polling at the refresh hint"),
    "F-13": Rule("M", "a new key is published before it is used"),
    "F-14": Rule("S", "fetched bundles are kept, older ones ignored"),
    "F-15": Rule("-", "ending a relationship removes the bundle"),
}
