"""A request as JSON for programs."""

from policies.mesh import shown
from policies.model import Request


def document(request: Request) -> dict[str, object]:
    """What `writ policy test` takes under `request`, with everything spelled out."""
    asked: dict[str, object] = {
        "from": request.principal.node,
        "action": request.action,
        "resource": shown(request.resource) if request.resource else "",
        "purpose": request.purpose,
        "data_class": request.data_class,
        "protocol": request.protocol,
        "method": request.method,
        "path": request.path,
        "stream": request.stream,
    }
    if request.arguments and request.arguments.given:
        asked["arguments"] = dict(request.arguments.given)
    return asked if request.subject_region is None else {**asked, "region": request.subject_region}
