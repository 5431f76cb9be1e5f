"""gRPC over HTTP/2 on Trio: a server and a client. Knows nothing of what is called."""

from __future__ import annotations

from tricorn.grpc.channel import GrpcChannel, open_channel
from tricorn.grpc.client_call import ClientCall
from tricorn.grpc.framing import RawMessage
from tricorn.grpc.method import Call, Handler, Message, Method
from tricorn.grpc.server import GrpcServer
from tricorn.grpc.status import Code, RpcError, Status

__all__ = [
    "Call",
    "ClientCall",
    "Code",
    "GrpcChannel",
    "GrpcServer",
    "Handler",
    "Message",
    "Method",
    "RawMessage",
    "RpcError",
    "Status",
    "open_channel",
]
