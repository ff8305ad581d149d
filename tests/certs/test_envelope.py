"""DSSE envelopes: interoperable with another implementation, and strict about everything that is not signed."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from certs import envelope, keys
from certs.envelope import (
    Envelope,
    Signature,
    key_id,
    pae,
    parse,
    sign_envelope,
    verify_documents,
    verify_p256,
)
from certs.errors import EnvelopeError

TYPE, OTHER_TYPE = "application/vnd.writ.trust+json", "application/vnd.writ.ticket+json"
PAYLOAD = b'{"generation":41}'
SIGNING = [keys.generate_ed25519() for _ in range(3)]
RAW = [keys.raw(key.public_key()) for key in SIGNING]
IDS = [key_id(raw) for raw in RAW]
KEYS = dict(zip(IDS, RAW, strict=True))
P256 = keys.generate_p256()


def signed(*who: int, kind: str = TYPE, payload: bytes = PAYLOAD) -> Envelope:
    return sign_envelope(kind, payload, [(IDS[index], SIGNING[index].sign) for index in who])


def test_the_specifications_example_encodes_as_it_says() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(st.text(max_size=9), st.binary(max_size=9), st.text(max_size=9), st.binary(max_size=9))
def test_no_two_documents_are_signed_as_the_same_bytes(kind, payload, other_kind, other_payload) -> None:
    same = (kind, payload) == (other_kind, other_payload)
    assert (pae(kind, payload) == pae(other_kind, other_payload)) is same


def test_what_we_sign_another_implementation_verifies() -> None:
    theirs = TheirEnvelope.from_dict(json.loads(signed(0, 1).to_json()))
    public = [SSlibKey.from_crypto(SIGNING[index].public_key(), keyid=IDS[index]) for index in (0, 1)]
    assert set(theirs.verify(public, 2)) == set(IDS[:2])
    assert theirs.pae() == pae(TYPE, PAYLOAD)


def test_what_another_implementation_signs_we_verify() -> None:
    theirs = TheirEnvelope(PAYLOAD, TYPE, {})
    theirs.sign(CryptoSigner(SIGNING[2], SSlibKey.from_crypto(SIGNING[2].public_key(), keyid=IDS[2])))
    found = parse(json.dumps(theirs.to_dict()).encode(), 4096)
    assert verify_documents(found, TYPE, KEYS.values(), 1) == PAYLOAD


def test_an_envelope_survives_its_json() -> None:
    made = signed(0, 1, 2)
    assert parse(made.to_json(), len(made.to_json())) == made


def test_the_threshold_counts_distinct_keys_that_really_signed() -> None:
    assert verify_documents(signed(0, 1), TYPE, KEYS.values(), 2) == PAYLOAD
    first, second = signed(0).signatures[0], signed(1).signatures[0]
    alias = {"alias": RAW[0], **KEYS}
    for signatures, known in (
        ((first,), KEYS),
        ((first, first), KEYS),
        ((first, Signature("alias", first.signature)), alias),  # one key under two names is one key
        ((first, Signature(IDS[1], first.signature)), KEYS),
        ((first, Signature(IDS[1], second.signature[:-1])), KEYS),
        ((first, Signature(IDS[1], second.signature + b"\x00")), KEYS),
        ((first, Signature(IDS[1], b"")), KEYS),
        ((first, Signature("", second.signature)), KEYS),
        ((first, second), {IDS[0]: RAW[0]}),
    ):
        with pytest.raises(EnvelopeError, match="signed by `1` of the keys"):
            verify_documents(Envelope(TYPE, PAYLOAD, signatures), TYPE, known.values(), 2)


def test_a_key_that_is_none_signs_nothing() -> None:
    for wrong in (b"", b"short", RAW[0] + RAW[1]):
        with pytest.raises(EnvelopeError, match="no document key"):
            verify_documents(signed(0, 1), TYPE, [RAW[0], wrong], 1)


def test_a_bad_signature_beside_enough_good_ones_does_no_harm() -> None:
    made = signed(0, 1)
    noisy = Envelope(TYPE, PAYLOAD, (*made.signatures, Signature("unknown", b"x"), Signature(IDS[2], b"x")))
    assert verify_documents(noisy, TYPE, KEYS.values(), 2) == PAYLOAD


def test_no_keys_or_no_signatures_are_never_enough() -> None:
    for found, known in ((signed(0), {}), (Envelope(TYPE, PAYLOAD, ()), KEYS)):
        with pytest.raises(EnvelopeError):
            verify_documents(found, TYPE, known.values(), 1)
    for threshold in (0, -1):
        with pytest.raises(RuntimeError, match="unsigned"):
            verify_documents(signed(0), TYPE, KEYS.values(), threshold)


def test_one_kind_of_document_never_passes_as_another() -> None:
    """Neither by asking for the wrong type nor by writing another type over the signed one."""
    made = signed(0)
    with pytest.raises(EnvelopeError, match="was expected"):
        verify_documents(made, OTHER_TYPE, KEYS.values(), 1)
    with pytest.raises(EnvelopeError, match="signed by `0`"):
        verify_documents(Envelope(OTHER_TYPE, PAYLOAD, made.signatures), OTHER_TYPE, KEYS.values(), 1)
    for shifted in (Envelope(TYPE + " 17", PAYLOAD, made.signatures), Envelope("", PAYLOAD, made.signatures)):
        with pytest.raises(EnvelopeError):
            verify_documents(shifted, shifted.payload_type, KEYS.values(), 1)


def test_every_flipped_bit_of_payload_or_signature_is_noticed() -> None:
    made = signed(0)
    signature = made.signatures[0].signature
    for at in range(8 * len(PAYLOAD)):
        with pytest.raises(EnvelopeError):
            verify_documents(Envelope(TYPE, flip(PAYLOAD, at), made.signatures), TYPE, KEYS.values(), 1)
    for at in range(8 * len(signature)):
        bad = (Signature(IDS[0], flip(signature, at)),)
        with pytest.raises(EnvelopeError):
            verify_documents(Envelope(TYPE, PAYLOAD, bad), TYPE, KEYS.values(), 1)


def flip(data: bytes, bit: int) -> bytes:
    return bytes(byte ^ (1 << bit % 8 if index == bit // 8 else 0) for index, byte in enumerate(data))


def test_a_p256_document_has_exactly_the_one_signature() -> None:
    made = sign_envelope(TYPE, PAYLOAD, [("root", lambda data: keys.sign(P256, data))])
    assert verify_p256(made, TYPE, P256.public_key()) == PAYLOAD
    (good,) = made.signatures
    foreign = Signature("root", keys.sign(keys.generate_p256(), pae(TYPE, PAYLOAD)))
    for bad in (
        Envelope(TYPE, PAYLOAD, ()),
        Envelope(TYPE, PAYLOAD, (good, good)),
        Envelope(TYPE, PAYLOAD, (foreign, good)),
        Envelope(TYPE, PAYLOAD, (foreign,)),
        Envelope(TYPE, PAYLOAD, (Signature("root", b""),)),
        Envelope(TYPE, PAYLOAD + b" ", (good,)),
        Envelope(OTHER_TYPE, PAYLOAD, (good,)),
    ):
        with pytest.raises(EnvelopeError):
            verify_p256(bad, TYPE, P256.public_key())


def document(**changes: object) -> bytes:
    entry = {"keyid": "k", "sig": "QUJD"}
    return json.dumps({"payload": "e30=", "payloadType": TYPE, "signatures": [entry]} | changes).encode()


def without(key: str) -> bytes:
    return json.dumps({k: v for k, v in json.loads(document()).items() if k != key}).encode()


def entries(*made: object) -> bytes:
    return document(signatures=list(made))


def test_the_document_below_is_well_formed_when_nothing_is_changed() -> None:
    assert parse(document(), 4096) == Envelope(TYPE, b"{}", (Signature("k", b"ABC"),))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"1",
        b'"payload"',
        b'["payload","payloadType","signatures"]',
        b"\xef\xbb\xbf" + document(),
        document() + b"x",
        document() + document(),
        document()[:-1],
        b"\xff" + document(),
        *(without(key) for key in ("payload", "payloadType", "signatures")),
        document(extra=1),
        b'{"payload":"e30=",' + document()[1:],  # the same key twice
        b'{"payl\\u006fad":"e30=",' + document()[1:],
        document().replace(b'"keyid": "k"', b'"keyid": "k", "keyid": "k"'),
        *(document(payload=value) for value in (None, 1, [], {}, ["e30="], True)),
        *(document(payloadType=value) for value in (None, 1, [TYPE], {})),
        *(document(signatures=value) for value in (None, 1, "k", {}, [], {"keyid": "k", "sig": ""})),
        *(entries(value) for value in (None, 1, "k", [], ["keyid", "sig"], {})),
        entries({"keyid": "k"}),
        entries({"sig": "QUJD"}),
        entries({"keyid": "k", "sig": "QUJD", "cert": ""}),
        entries({"keyid": 1, "sig": "QUJD"}),
        entries({"keyid": None, "sig": "QUJD"}),
        entries({"keyid": "k", "sig": 1}),
        entries(*[{"keyid": "k", "sig": "QUJD"}] * 17),
        *(
            document(payload=text)
            for text in (
                "e30",
                "e30==",
                "e31=",
                "e3 0=",
                "e30=\n",
                "-_-_",
                "e30=e30=",
                "=",
                "e",
                "\u00e9",
                "\ud800",
            )
        ),
        b"[" * 100_000,
        b'{"payload":' * 50_000,
    ],
)
def test_a_malformed_envelope_is_refused_whole(data) -> None:
    with pytest.raises(EnvelopeError):
        parse(data, 1 << 20)


@given(st.binary(max_size=80))
def test_noise_raises_nothing_but_our_error(noise) -> None:
    good = document()
    for data in (noise, good[: len(noise)] + noise, good[:20] + noise + good[20:]):
        try:
            parse(data, 4096)
        except EnvelopeError:
            continue


def test_size_is_checked_before_reading() -> None:
    with pytest.raises(EnvelopeError, match="over the limit"):
        parse(b"[" * 10_000_000, 4096)
    with pytest.raises(EnvelopeError, match="over the limit"):
        parse(document(), len(document()) - 1)


def test_sixteen_signatures_are_the_most() -> None:
    assert (
        len(parse(entries(*[{"keyid": "k", "sig": "QUJD"}] * 16), 4096).signatures) == envelope.MAX_SIGNATURES
    )


def test_a_key_id_is_eight_hex_digits() -> None:
    assert key_id(b"\x00" * 32) == "66687aad"
    assert base64.b16decode(IDS[0].upper())
