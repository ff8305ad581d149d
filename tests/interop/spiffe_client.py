"""py-spiffe against a socket, in an environment of its own: one JSON line per finding. Run by `test_py_spiffe`."""

import json
import sys
import threading

from spiffe import JwtSource, TrustDomain, WorkloadApiClient, X509Source
from spiffe.errors import PySpiffeError

socket, other_audience = sys.argv[1], "somebody-else"


def say(**found: object) -> None:
    print(json.dumps(found), flush=True)


def refused(call, *arguments, **named) -> bool:
    try:
        call(*arguments, **named)
    except PySpiffeError:
        return True
    return False


with WorkloadApiClient(socket) as client:
    svid = client.fetch_x509_svid()
    say(svid=str(svid.spiffe_id), chain=len(svid.cert_chain))
    context = client.fetch_x509_context()
    domain = TrustDomain("demo.example")
    say(ids=[str(one.spiffe_id) for one in context.x509_svids])
    say(roots=len(context.x509_bundle_set.get_bundle_for_trust_domain(domain).x509_authorities))
    token = client.fetch_jwt_svid(audience={"api"})
    say(jwt=str(token.spiffe_id), audience=sorted(token.audience))
    say(valid=str(client.validate_jwt_svid(token.token, "api").spiffe_id))
    say(refused=refused(client.validate_jwt_svid, token.token, other_audience))
    say(jwt_keys=len(client.fetch_jwt_bundles().get_bundle_for_trust_domain(domain).jwt_authorities))

with JwtSource(socket_path=socket) as jwts:
    say(jwt_source=str(jwts.fetch_svid(audience={"api"}).spiffe_id))

with X509Source(socket_path=socket) as source:
    first = source.svid.leaf.serial_number
    rotated = threading.Event()
    source.subscribe_for_updates(lambda: rotated.set() if source.svid.leaf.serial_number != first else None)
    say(waiting=True)
    say(rotated=rotated.wait(60), same=str(source.svid.spiffe_id))
