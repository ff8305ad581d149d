"""What the services of one replica are made of."""

from dataclasses import dataclass

from controlplane.administering import Desk
from controlplane.attest.challenges import Challenges
from controlplane.config import Config
from controlplane.federating import Federating
from controlplane.services.admission import Admission
from controlplane.services.attestation import Attestation
from controlplane.services.authorities import Authorities
from controlplane.services.crls import Crls
from controlplane.services.following import Following
from controlplane.services.lifecycle import Lifecycle
from controlplane.services.nodes import Nodes
from controlplane.services.overview import Overviews
from controlplane.services.publish import Publisher
from controlplane.services.pulse import Pulse
from controlplane.services.replicas import Replicas
from controlplane.store.base import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """Made once, by `main`."""

    config: Config
    store: Store
    made: Authorities
    publisher: Publisher
    replicas: Replicas
    nodes: Nodes
    lifecycle: Lifecycle
    following: Following
    overviews: Overviews
    attestation: Attestation
    challenges: Challenges
    crls: Crls
    desk: Desk
    federating: Federating
    admission: Admission
    pulse: Pulse
