"""`writ agent files`: an ordinary client of the Workload API that keeps one identity in files.

It runs as the user that the identity is registered for: the kernel attests it like any other process. The stream stays
open; what it brings is written at once. When the identity is taken away, the files are removed.
"""

import asyncio
import contextlib
import random
from dataclasses import dataclass

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from agent import identity
from agent.errors import AgentError
from agent.workload.fileset import FileSet
from agent.workload.hook import Hook
from certs import der
from controlplane.api.gen import workload_pb2, workload_pb2_grpc

log = structlog.get_logger()
HEADER = (("workload.spiffe.io", "true"),)
FIRST_RETRY_S, MAX_RETRY_S = 0.2, 20.0
HOPELESS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED}  # Workload Endpoint, appendix A


class ExportError(AgentError):
    """What came from the socket cannot be used, or nothing can ever come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Which identity, from where, to where."""

    target: str
    workload: str  # last segment of its SPIFFE ID, or the whole; empty: the first
    once: bool


async def run(export: Export, files: FileSet, hook: Hook) -> None:
    """For ever, or until there is one set if `once`."""
    retry = FIRST_RETRY_S
    async with asyncio.TaskGroup() as tasks:
        told: asyncio.Task[None] | None = None
        while True:
            try:
                async with grpc.aio.insecure_channel(export.target) as channel:
                    stub = workload_pb2_grpc.SpiffeWorkloadAPIStub(channel)
                    async for response in stub.FetchX509SVID(workload_pb2.X509SVIDRequest(), metadata=HEADER):
                        retry = FIRST_RETRY_S
                        if _written(export, response, files):
                            if told:
                                told.cancel()
                            told = tasks.create_task(hook.run())
                        if export.once:
                            return
            except grpc.aio.AioRpcError as exc:
                _lost(exc, files)
            await asyncio.sleep(retry * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            retry = min(retry * 2, MAX_RETRY_S)


def _written(export: Export, response: workload_pb2.X509SVIDResponse, files: FileSet) -> bool:
    """Write what came; must the server be told?"""
    svid = choose(response, export.workload)
    renewed = files.write(in_pem(svid))
    log.info("files_written", spiffe_id=svid.spiffe_id, renewed=renewed)
    return renewed


def _lost(error: grpc.aio.AioRpcError, files: FileSet) -> None:
    log.warning("workload_api_lost", code=error.code().name, reason=error.details())
    if error.code() in HOPELESS:
        raise ExportError(error.details() or error.code().name) from error
    if error.code() is grpc.StatusCode.PERMISSION_DENIED:
        with contextlib.suppress(OSError):
            files.remove()


def choose(response: workload_pb2.X509SVIDResponse, workload: str) -> workload_pb2.X509SVID:
    """The identity that was asked for. One with a field missing counts as not there (Workload API 4.4)."""
    whole = [
        svid
        for svid in response.svids
        if svid.spiffe_id and svid.x509_svid and svid.x509_svid_key and svid.bundle
    ]
    for svid in whole:
        if not workload or workload in {svid.spiffe_id, svid.spiffe_id.rpartition("/")[2]}:
            return svid
    names = ", ".join(svid.spiffe_id for svid in whole) or "none"
    raise ExportError(f"this process is not workload `{workload}`", hint=f"it is: {names}")


def in_pem(svid: workload_pb2.X509SVID) -> dict[str, bytes]:
    """File name -> content."""
    try:
        key = serialization.load_der_private_key(svid.x509_svid_key, None)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain, bundle = (identity.pem(*der.split(data)) for data in (svid.x509_svid, svid.bundle))
        x509.load_pem_x509_certificate(chain)
    except (ValueError, TypeError) as exc:
        raise ExportError("the Workload API gave no key and certificates") from exc
    return {"key.pem": private, "chain.pem": chain, "bundle.pem": bundle}
