"""What the services of one replica are made of."""

from dataclasses import dataclass

from controlplane.administering import Desk
from controlplane.attest.challenges import Challenges
from controlplane.config import Config
from controlplane.federating import Federating
from controlplane.services.authority.authorities import Authorities
from controlplane.services.authority.crls import Crls
from controlplane.services.authority.lifecycle import Lifecycle
from controlplane.services.identity.admission import Admission
from controlplane.services.identity.attestation import Attestation
from controlplane.services.identity.nodes import Nodes
from controlplane.services.mesh.replicas import Replicas
from controlplane.services.mesh.root_rotation import RootRotation
from controlplane.services.overview import Overviews
from controlplane.services.pulse import Pulse
from controlplane.services.push.following import Following
from controlplane.services.push.publish import Publisher
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
    root_rotation: RootRotation
    following: Following
    overviews: Overviews
    attestation: Attestation
    challenges: Challenges
    crls: Crls
    desk: Desk
    federating: Federating
    admission: Admission
    pulse: Pulse
