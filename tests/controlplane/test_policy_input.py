"""Bad policies through the API: one clear error each, and the policy that runs is untouched."""

import pytest

from controlplane.api.gen import admin_pb2
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import CliError

ANY = "permit(principal, action, resource)"
GOOD = f'@id("good") {ANY} when {{ context.stream }};'


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("input"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        made.policy(GOOD)
        yield made


def apply(mesh: Mesh, text: str, name: str = "p.cedar") -> list[tuple[str, str, int, str]]:
    """Findings, once it is certain that nothing changed."""
    before = mesh.call("ListPolicies", admin_pb2.ListPoliciesRequest())
    request = admin_pb2.ApplyPolicyRequest()
    request.source.files.add(name=name, text=text)
    try:
        found = mesh.call("ApplyPolicy", request).findings
    finally:
        assert mesh.call("ListPolicies", admin_pb2.ListPoliciesRequest()) == before
        shown = mesh.call("GetPolicy", admin_pb2.GetPolicyRequest())
        assert [file.text for file in shown.source.files] == [GOOD]
    assert {one.severity for one in found} == {"error"}
    return [(one.code, one.file, one.line, one.message) for one in found]


@pytest.mark.parametrize(
    ("text", "code", "line", "says"),
    [
        (f'@id("a") {ANY} when {{\n principal.shoe_size > 4 }};', "W-SCHEMA", 2, "shoe_size"),
        ('@id("a")\npermit(principal, action == Action::"fly", resource);', "W-SCHEMA", 2, "fly"),
        ('@id("a")\npermit(principal is Robot, action, resource);', "W-SCHEMA", 2, "Robot"),
        (f'@id("a") {ANY};\n@id("a") {ANY};', "W-ID", 2, "taken by p.cedar:1"),
        (f'@id("b") {ANY};\n\n{ANY};', "W-ID", 3, "no id"),
        (f'@id("a") {ANY} when {{ principal.tier\n + 1 == 2 }};', "W-UNSUPPORTED", 2, "`+`"),
        (f'@id("a") {ANY}', "W-SYNTAX", 1, "`;`"),
        ("nonsense", "W-SYNTAX", 1, "`;`"),
        ("permit;", "W-SYNTAX", 1, ""),
        (f'@id("a") {ANY} when {{ context.now < datetime("tomorrow") }};', "W-SCHEMA", 1, "datetime"),
        (
            f'@id("a") {ANY} when {{ context.source_ip.isInRange(ip("1.2.3.4/99")) }};',
            "W-SCHEMA",
            1,
            "IP address",
        ),
        (f'@id("a") {ANY} when {{ {"(" * 3000}true{")" * 3000} }};', "W-COMPLEX", 1, "too deeply"),
        (
            f'@id("a") {ANY} when {{ {" && ".join(["context.stream"] * 5000)} }};',
            "W-COMPLEX",
            1,
            "too deeply",
        ),
        (f'@id("a") {ANY} when {{ principal{".a" * 5000} == 1 }};', "W-COMPLEX", 1, "too deeply"),
        (
            f'@id("a") {ANY} when {{ {"if true then " * 3000}true{" else false" * 3000} }};',
            "W-COMPLEX",
            1,
            "too deeply",
        ),
        (f'@id("a") {ANY} when {{ {"!" * 9000}true }};', "W-COMPLEX", 1, "too deeply"),
        ('@id("a") permit(principal in ?principal, action, resource);', "W-TEMPLATE", 1, "no link"),
    ],
)
def test_one_fault_is_one_finding_with_its_line(
    mesh: Mesh, text: str, code: str, line: int, says: str
) -> None:
    ((found_code, file, found_line, message),) = apply(mesh, text)
    assert (found_code, file, found_line) == (code, "p.cedar", line), message
    assert says in message


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("// " + "x" * 10 * 2**20, id="10 MB"),
        pytest.param("\n".join(f'@id("p{n}") {ANY};' for n in range(100_000)), id="100,000 policies"),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_read(mesh: Mesh, text: str) -> None:
    with pytest.raises(CliError) as caught:
        apply(mesh, text)
    assert "at most" in str(caught.value) or "larger" in str(caught.value)


def test_two_files_of_one_name_are_refused(mesh: Mesh) -> None:
    request = admin_pb2.ApplyPolicyRequest()
    request.source.files.add(name="p", text=GOOD)
    request.source.files.add(name="p", text=GOOD)
    with pytest.raises(CliError, match="one name"):
        mesh.call("ApplyPolicy", request)
