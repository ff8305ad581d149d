"""Small builders over Envoy's and xDS's protobuf messages: matcher trees and typed configs. No policy is known here."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from envoy.config.core.v3 import address_pb2
from envoy.config.rbac.v3 import rbac_pb2 as rbac_config
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from envoy.extensions.matching.common_inputs.ssl.v3 import ssl_inputs_pb2
from envoy.extensions.matching.input_matchers.ip.v3 import ip_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3 import http_inputs_pb2 as xds_inputs
from xds.type.matcher.v3.matcher_pb2 import Matcher
from xds.type.matcher.v3.regex_pb2 import RegexMatcher
from xds.type.matcher.v3.string_pb2 import StringMatcher

OnMatch: TypeAlias = Matcher.OnMatch
Predicate: TypeAlias = Matcher.MatcherList.Predicate


def packed(message: Message) -> Any:
    wrapped = Any()
    wrapped.Pack(message)
    return wrapped


def extension(name: str, message: Message) -> TypedExtensionConfig:
    return TypedExtensionConfig(name=name, typed_config=packed(message))


def header(name: str) -> TypedExtensionConfig:
    """Input: the value of a request header; several values are joined with commas."""
    return extension("header", http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=name))


URI_SAN = extension("uri_san", ssl_inputs_pb2.UriSanInput())
SUBJECT = extension("subject", ssl_inputs_pb2.SubjectInput())
DIRECT_SOURCE = extension("source", network_inputs_pb2.DirectSourceIPInput())
ATTRIBUTES = extension("attributes", xds_inputs.HttpAttributesCelMatchInput())


def test(input_: TypedExtensionConfig, **match: str) -> Predicate:
    """exact=, prefix=, suffix= or contains= on an input. An absent input matches nothing."""
    single = Predicate.SinglePredicate(input=input_, value_match=StringMatcher(**match))
    return Predicate(single_predicate=single)


def pattern(input_: TypedExtensionConfig, regex: str) -> Predicate:
    """The whole of an input matches an RE2 expression."""
    matcher = RegexMatcher(google_re2=RegexMatcher.GoogleRE2(), regex=regex)
    single = Predicate.SinglePredicate(input=input_, value_match=StringMatcher(safe_regex=matcher))
    return Predicate(single_predicate=single)


def from_network(*networks: str) -> Predicate:
    """The connection comes from one of these networks: its own address, whatever headers say."""
    ranges = [network.rpartition("/") for network in networks]
    made = ip_pb2.Ip(
        stat_prefix="source",
        cidr_ranges=[
            address_pb2.CidrRange(address_prefix=prefix, prefix_len={"value": int(length)})
            for prefix, _, length in ranges
        ],
    )
    return custom(DIRECT_SOURCE, extension("ip", made))


def custom(input_: TypedExtensionConfig, matcher: TypedExtensionConfig) -> Predicate:
    return Predicate(single_predicate=Predicate.SinglePredicate(input=input_, custom_match=matcher))


def all_of(items: Sequence[Predicate]) -> Predicate:
    if len(items) == 1:
        return items[0]
    return Predicate(and_matcher=Predicate.PredicateList(predicate=items))


def any_of(items: Sequence[Predicate]) -> Predicate:
    if len(items) == 1:
        return items[0]
    return Predicate(or_matcher=Predicate.PredicateList(predicate=items))


def none_of(item: Predicate) -> Predicate:
    return Predicate(not_matcher=item)


def act(name: str, *, allow: bool) -> OnMatch:
    """A leaf: RBAC's verdict under a name that records carry."""
    action = rbac_config.RBAC.ALLOW if allow else rbac_config.RBAC.DENY
    return OnMatch(action=extension("action", rbac_config.Action(name=name, action=action)))


def then(matcher: Matcher) -> OnMatch:
    return OnMatch(matcher=matcher)


def exact_map(input_: TypedExtensionConfig, entries: Mapping[str, OnMatch], otherwise: OnMatch) -> Matcher:
    """One lookup, however many entries. An inner matcher without a match never falls back to a sibling."""
    if not entries:
        return always(otherwise)
    tree = Matcher.MatcherTree(input=input_, exact_match_map=Matcher.MatcherTree.MatchMap(map=entries))
    return Matcher(matcher_tree=tree, on_no_match=otherwise)


def prefix_map(input_: TypedExtensionConfig, entries: Mapping[str, OnMatch], otherwise: OnMatch) -> Matcher:
    """The longest prefix decides."""
    if not entries:
        return always(otherwise)
    tree = Matcher.MatcherTree(input=input_, prefix_match_map=Matcher.MatcherTree.MatchMap(map=entries))
    return Matcher(matcher_tree=tree, on_no_match=otherwise)


def in_order(rows: Iterable[tuple[Predicate, OnMatch]], otherwise: OnMatch) -> Matcher:
    """The first row whose predicate holds."""
    fields = [
        Matcher.MatcherList.FieldMatcher(predicate=predicate, on_match=result) for predicate, result in rows
    ]
    if not fields:
        return always(otherwise)
    return Matcher(matcher_list=Matcher.MatcherList(matchers=fields), on_no_match=otherwise)


def always(result: OnMatch) -> Matcher:
    return Matcher(on_no_match=result)
