"""Envoy's reader of a stream's first message: it holds the headers back until the message that names the resource is there.

It is lenient (of two values it takes the last), so what it finds only chooses the rule: the classifier then reads every
message of the stream strictly, the first included, and none passes that names another. Off except on the routes of such
streams.
"""

import base64
from typing import Any

from google.protobuf import descriptor_pb2

from policies.table import TABLE, Endpoint, Source

NAME = "envoy.filters.http.grpc_field_extraction"
KIND = "type.googleapis.com/envoy.extensions.filters.http.grpc_field_extraction.v3.GrpcFieldExtractionConfig"
FIELD = "name"
_Field = descriptor_pb2.FieldDescriptorProto


def streams() -> list[Endpoint]:
    """The rows of the table whose first message names the resource."""
    return [row for row in TABLE if row.source is Source.FIRST]


def http_filter() -> dict[str, Any]:
    """The filter, switched off."""
    methods: dict[str, Any] = {
        row.path[1:].replace("/", "."): {"request_field_extractions": {FIELD: {}}} for row in streams()
    }
    files = descriptor_pb2.FileDescriptorSet(
        file=[_file(number, row) for number, row in enumerate(streams())]
    )
    encoded = base64.b64encode(files.SerializeToString()).decode()
    config = {
        "@type": KIND,
        "descriptor_set": {"inline_bytes": encoded},
        "extractions_by_method": methods,
    }
    return {"name": NAME, "disabled": True, "typed_config": config}


def _file(number: int, row: Endpoint) -> descriptor_pb2.FileDescriptorProto:
    """As much of a protocol as we need: a message with one string, and the method that takes it."""
    service, method = row.path[1:].split("/")
    package, _, short = service.rpartition(".")
    made = descriptor_pb2.FileDescriptorProto(name=f"{number}.proto", package=package, syntax="proto3")
    message = made.message_type.add(name=f"{short}{method}Message")
    message.field.add(name=FIELD, number=int(row.field), type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    kind = f".{package}.{message.name}"
    made.service.add(name=short).method.add(
        name=method, input_type=kind, output_type=kind, client_streaming=True, server_streaming=True
    )
    return made
