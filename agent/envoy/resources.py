"""Routes, clusters and secrets: where a request may go, once the three filters let it through.

Each peer is a cluster of its own, whose certificate must carry exactly that peer's SPIFFE ID. At egress a route is chosen
by Host, but only its metadata says who the peer is. At ingress a route is chosen by the resource that the classifier found;
gRPC goes on as HTTP/2, all else as HTTP/1.1. A WebSocket is opened only for paths that the table says are one.
"""

from collections.abc import Iterable, Sequence
from types import MappingProxyType

from envoy.config.cluster.v3 import cluster_pb2 as cluster
from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2 as component
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_components_pb2 as component_route
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as upstream_http
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from xds.core.v3.extension_pb2 import TypedExtensionConfig

from agent.envoy import accesslog, classifier, extraction, pb, sessions
from agent.envoy.listeners import CURVES
from agent.envoy.settings import EnvoySettings
from policies.asking import Wanted
from policies.documents import Peer, ServedResource
from policies.table import TABLE

NOTHING: Wanted = MappingProxyType({})
LUA = "envoy.filters.http.lua"
GRPC = r"application/grpc(\+proto)?"
UNSERVED = "unserved"  # a cluster that does not exist
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def identity_secret(key_pem: bytes, chain_pem: bytes) -> secret_pb2.Secret:
    """Our own key and chain, as Envoy takes them over the agent's socket."""
    certificate = common_pb2.TlsCertificate(
        private_key=base_pb2.DataSource(inline_bytes=key_pem),
        certificate_chain=base_pb2.DataSource(inline_bytes=chain_pem),
    )
    return secret_pb2.Secret(name="identity", tls_certificate=certificate)


def peers_secret(node_cas_pem: bytes) -> secret_pb2.Secret:
    """Whom to believe: the CAs that issue nodes, as anchors themselves."""
    trusted = common_pb2.CertificateValidationContext(
        trusted_ca=base_pb2.DataSource(inline_bytes=node_cas_pem)
    )
    return secret_pb2.Secret(name="peers", validation_context=trusted)


def peer_clusters(peers: Iterable[Peer], epoch: int, settings: EnvoySettings) -> list[cluster.Cluster]:
    """`epoch` is our own. When it rises the clusters change, and Envoy opens new connections with the new certificate:
    peers refuse the old one, and a connection shows the certificate that it began with.
    """
    made = [_peer_cluster(peer, settings) for peer in peers]
    for one in made:
        one.metadata.filter_metadata["writ"].update({"epoch": epoch})
    return made


def _peer_cluster(peer: Peer, settings: EnvoySettings) -> cluster.Cluster:
    exact = common_pb2.SubjectAltNameMatcher(
        san_type=common_pb2.SubjectAltNameMatcher.URI, matcher=string_pb2.StringMatcher(exact=peer.spiffe_id)
    )
    ads = _ads()
    combined = tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=common_pb2.CertificateValidationContext(
            match_typed_subject_alt_names=[exact]
        ),
        validation_context_sds_secret_config=secret_pb2.SdsSecretConfig(name="peers", sds_config=ads),
    )
    context = tls_pb2.UpstreamTlsContext(
        common_tls_context=tls_pb2.CommonTlsContext(
            tls_params=common_pb2.TlsParameters(
                tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_3,
                tls_maximum_protocol_version=common_pb2.TlsParameters.TLSv1_3,
                ecdh_curves=CURVES,
            ),
            tls_certificate_sds_secret_configs=[secret_pb2.SdsSecretConfig(name="identity", sds_config=ads)],
            combined_validation_context=combined,
            alpn_protocols=["h2"],
        ),
        max_session_keys={"value": 0},  # no resumption: every connection authenticates
    )
    options = upstream_http.HttpProtocolOptions(
        explicit_http_config=upstream_http.HttpProtocolOptions.ExplicitHttpConfig(
            http2_protocol_options=protocol_pb2.Http2ProtocolOptions(allow_connect=True)  # for WebSockets
        ),
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(
            idle_timeout=_seconds(settings.idle_s),
            max_connection_duration=_seconds(settings.max_connection_s),
        ),
    )
    made = _cluster(peer.spiffe_id, peer.address, settings)
    made.transport_socket.CopyFrom(
        base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=pb.packed(context))
    )
    made.typed_extension_protocol_options[OPTIONS].CopyFrom(pb.packed(options))
    return made


def local_clusters(served: Iterable[ServedResource], settings: EnvoySettings) -> list[cluster.Cluster]:
    """Two per loopback port of this node's own AI servers: for HTTP/1.1, and for gRPC. On each connection there is one
    request at a time, so that one can be cut.
    """
    ports = sorted({one.port for one in served})
    return [made for port in ports for made in (_local(port, settings), _local_grpc(port, settings))]


def _local(port: int, settings: EnvoySettings) -> cluster.Cluster:
    return _cluster(_local_name(port), f"127.0.0.1:{port}", settings)


def _local_grpc(port: int, settings: EnvoySettings) -> cluster.Cluster:
    made = _cluster(_local_name(port, grpc=True), f"127.0.0.1:{port}", settings)
    one = protocol_pb2.Http2ProtocolOptions(max_concurrent_streams={"value": 1})
    options = upstream_http.HttpProtocolOptions(
        explicit_http_config=upstream_http.HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=one)
    )
    made.typed_extension_protocol_options[OPTIONS].CopyFrom(pb.packed(options))
    return made


def _local_name(port: int, *, grpc: bool = False) -> str:
    return f"local/{port}/grpc" if grpc else f"local/{port}"


def _cluster(name: str, address: str, settings: EnvoySettings) -> cluster.Cluster:
    host, _, port = address.rpartition(":")
    socket = address_pb2.SocketAddress(address=host.strip("[]"), port_value=int(port))
    endpoint = component.LbEndpoint(
        endpoint=component.Endpoint(address=address_pb2.Address(socket_address=socket))
    )
    load = endpoint_pb2.ClusterLoadAssignment(
        cluster_name=name, endpoints=[component.LocalityLbEndpoints(lb_endpoints=[endpoint])]
    )
    numeric = all(c in "0123456789.:[]" for c in host)
    made = cluster.Cluster(
        name=name,
        type=cluster.Cluster.STATIC if numeric else cluster.Cluster.STRICT_DNS,
        connect_timeout=Duration(
            nanos=int(settings.connect_timeout_s % 1 * 1e9), seconds=int(settings.connect_timeout_s)
        ),
        load_assignment=load,
    )
    made.per_connection_buffer_limit_bytes.value = 1 << 20
    return made


def egress_routes(
    peers: Sequence[Peer], subject: str, wanted: Wanted = NOTHING
) -> route_pb2.RouteConfiguration:
    """A virtual host per peer; unknown hosts get 404 from Envoy, and a code from the local reply. `wanted`: see `_known`."""
    hosts = [
        component_route.VirtualHost(
            name=peer.node,
            domains=[f"{peer.node}.mesh", f"{peer.node}.mesh:*"],
            routes=[
                _known(route, wanted, who=f"{peer.spiffe_id} {subject}")
                for route in (*_special(peer.spiffe_id), _all(peer.spiffe_id))
            ],
        )
        for peer in peers
    ]
    made = _configuration("egress", hosts, "out")
    _add(made.request_headers_to_add.add(), "writ-request-id", f"%REQ({accesslog.ID['out']})%")
    return made


def _known(made: component_route.Route, wanted: Wanted, **known_of: str) -> component_route.Route:
    """With what the classifier needs to know: of the peer and of us, and which arguments of which tools rules ask for."""
    known = Struct()
    known.update(known_of)
    if wanted:
        known.update({"arguments": {tool: sorted(names) for tool, names in wanted.items()}})
    made.metadata.filter_metadata[LUA].CopyFrom(known)
    return made


def ingress_routes(
    served: Sequence[ServedResource], wanted: Wanted = NOTHING
) -> route_pb2.RouteConfiguration:
    """By the resource that the classifier named; what is not served is answered 404 after it was denied."""
    entries = {f"{one.key.kind}/{one.key.name}": pb.OnMatch(action=_served(one.port)) for one in served}
    absent = component_route.Route(match=component_route.RouteMatch(prefix="/"))
    absent.direct_response.status = 404
    first = [_known(route, wanted) for route in (*_special(UNSERVED), *_sessions(), absent)]
    unserved = pb.OnMatch(action=_list(first))
    host = component_route.VirtualHost(
        name="local", domains=["*"], matcher=pb.exact_map(pb.header("writ-resource"), entries, unserved)
    )
    made = _configuration("ingress", [host], "in")
    # Servers that keep something for their callers can tell them apart: by what was decided on.
    _add(made.request_headers_to_add.add(), "writ-peer", "%DOWNSTREAM_PEER_URI_SAN%")
    return made


def _served(port: int) -> TypedExtensionConfig:
    grpc = component_route.Route(
        match=component_route.RouteMatch(prefix="/", headers=[_header("content-type", GRPC)]),
        route=_action(_local_name(port, grpc=True)),
    )
    return _list([grpc, _all(_local_name(port))])


def _special(to: str) -> list[component_route.Route]:
    """Envoy asks the first route of a request, before it is classified, which filters run and whether it may become a
    WebSocket.
    """
    made = [_with(extraction.NAME, row.path, to) for row in extraction.streams()]
    for path in dict.fromkeys(row.path for row in TABLE if row.websocket):
        match = component_route.RouteMatch(path=path, headers=[_header("upgrade", "(?i)websocket")])
        route = component_route.Route(match=match, route=_action(to))
        route.route.upgrade_configs.add(upgrade_type="websocket")
        made.append(route)
    return made


def _sessions() -> list[component_route.Route]:
    return [_with(sessions.NAME, path, UNSERVED) for path in sessions.paths()]


def _with(name: str, path: str, to: str) -> component_route.Route:
    """A route on which the filter `name` runs."""
    made = component_route.Route(match=component_route.RouteMatch(path=path), route=_action(to))
    made.typed_per_filter_config[name].CopyFrom(pb.packed(component_route.FilterConfig(config=Any())))
    return made


def _all(to: str) -> component_route.Route:
    return component_route.Route(match=component_route.RouteMatch(prefix="/"), route=_action(to))


def _list(routes: Sequence[component_route.Route]) -> TypedExtensionConfig:
    return pb.extension("route", component_route.RouteList(routes=routes))


def _header(name: str, pattern: str) -> component_route.HeaderMatcher:
    whole = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=pattern))
    return component_route.HeaderMatcher(name=name, string_match=whole)


def _action(name: str) -> component_route.RouteAction:
    # No route timeout: inference takes as long as it takes. Idle timeouts and the stream's maximum bound it.
    return component_route.RouteAction(cluster=name, timeout=Duration())


def _configuration(
    name: str, hosts: Sequence[component_route.VirtualHost], direction: str
) -> route_pb2.RouteConfiguration:
    made = route_pb2.RouteConfiguration(name=name, virtual_hosts=hosts)
    made.request_headers_to_remove.append(classifier.KEY)  # it has bytes that no header may have
    record = f"%REQ({accesslog.ID[direction]})%/{direction}"
    _add(made.response_headers_to_add.add(), "writ-record-id", record)
    return made


def _add(option: base_pb2.HeaderValueOption, name: str, value: str) -> None:
    option.header.key, option.header.value = name, value
    option.append_action = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def _ads() -> config_source_pb2.ConfigSource:
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.V3
    )


def _seconds(value: int) -> Duration:
    return Duration(seconds=value)
