"""The one attack table: every control of Writ, the attacks on it, and how it is switched off. Each area has a file of its own."""

from attacks import (
    documents_authentic,
    documents_fresh,
    documents_twice,
    egress,
    enrolling,
    impostors,
    ingress_bodies,
    ingress_claims,
    ingress_rules,
    ingress_tls,
    keeping,
    logs,
    renewing,
    secrets_at_rest,
    signing,
    streams,
    whole,
)
from attacks.control import Control

TABLE: tuple[Control, ...] = (
    *ingress_tls.CONTROLS,
    *ingress_claims.CONTROLS,
    *ingress_bodies.CONTROLS,
    *ingress_rules.CONTROLS,
    *egress.CONTROLS,
    *streams.CONTROLS,
    *documents_authentic.CONTROLS,
    *documents_twice.CONTROLS,
    *documents_fresh.CONTROLS,
    *impostors.CONTROLS,
    *enrolling.CONTROLS,
    *renewing.CONTROLS,
    *signing.CONTROLS,
    *secrets_at_rest.CONTROLS,
    *secrets_at_rest.TOKENS,
    *logs.CONTROLS,
    *keeping.CONTROLS,
    *whole.CONTROLS,
)
