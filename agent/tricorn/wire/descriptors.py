"""Message classes and service descriptors by their full names, out of the packaged descriptor set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

DESCRIPTOR_SET = "containerd.binpb"


class _Files:
    """A protobuf DescriptorDatabase: the pool asks it for a file when something in it is needed.

    Most processes need a few services; the rest never costs more than its bytes.
    """

    def __init__(self, data: bytes) -> None:
        found = descriptor_pb2.FileDescriptorSet.FromString(data).file
        self.services = [f"{file.package}.{service.name}" for file in found for service in file.service]
        self._by_name = {file.name: file.SerializeToString() for file in found}
        self._by_symbol = {symbol: file.name for file in found for symbol in _symbols(file)}

    def FindFileByName(self, name: str) -> descriptor_pb2.FileDescriptorProto:  # noqa: N802 - protobuf's protocol
        return descriptor_pb2.FileDescriptorProto.FromString(self._by_name[name])

    def FindFileContainingSymbol(self, symbol: str) -> descriptor_pb2.FileDescriptorProto:  # noqa: N802 - as above
        name = self._by_symbol.get(symbol) or self._by_symbol[symbol.rpartition(".")[0]]  # a nested message
        return self.FindFileByName(name)


def _symbols(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    things: Sequence[Any] = (*file.message_type, *file.enum_type, *file.service)
    for thing in things:
        yield f"{file.package}.{thing.name}"


@cache
def _files() -> _Files:
    return _Files((resources.files(__package__) / DESCRIPTOR_SET).read_bytes())


@cache
def pool() -> DescriptorPool:
    """Our own pool: another library's idea of the same names never meets ours."""
    return DescriptorPool(_files())


@cache
def message(name: str) -> Any:
    """Return the class of the message with this full name, such as `containerd.types.Mount`.

    Raises KeyError when there is none.
    """
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(name))


@cache
def enum(name: str) -> Any:
    """Return the enum with this full name: `.ACTIVE` and `.Value(...)` give numbers, `.Name(...)` names.

    Raises KeyError when there is none.
    """
    return EnumTypeWrapper(pool().FindEnumTypeByName(name))


@cache
def service(name: str) -> ServiceDescriptor:
    """Return the descriptor of the service with this full name. Raises KeyError when there is none."""
    return pool().FindServiceByName(name)


def services() -> list[ServiceDescriptor]:
    """Return the descriptors of all services, those that only shims and plug-ins speak included."""
    return [service(name) for name in _files().services]


class Package:
    """The messages and enums of one package as attributes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        full = f"{self._name}.{name}"
        try:
            found = message(full)
        except KeyError:
            try:
                found = enum(full)
            except KeyError:
                raise AttributeError(f"no message or enum {full}") from None
        setattr(self, name, found)
        return found


@cache
def package(name: str) -> Any:
    """Return the messages and enums of a package, such as `containerd.services.images.v1`.

    Typed Any, since they are known at run time only; a wrong name raises AttributeError.
    """
    return Package(name)
