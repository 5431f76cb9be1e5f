"""The messages of containerd's gRPC API, as classes made from one descriptor set.

Nothing is generated: `containerd.binpb` holds the compiled agent/proto (`make proto`), and a class comes
into being when it is first asked for, with only the files that it needs.
"""

from tricorn.wire.descriptors import Package, enum, message, package, service, services
from tricorn.wire.mappings import mapping_of, message_of
from tricorn.wire.values import any_of, datetime_of, timestamp, unpack

__all__ = [
    "Package",
    "any_of",
    "datetime_of",
    "enum",
    "mapping_of",
    "message",
    "message_of",
    "package",
    "service",
    "services",
    "timestamp",
    "unpack",
]
