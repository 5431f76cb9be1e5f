"""containerd.types.transfer: sources, destinations and progress as messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import trio

from tricorn import wire
from tricorn.errors import InvalidArgument, TricornError
from tricorn.model.oci import Descriptor, Platform
from tricorn.model.requests import HeaderAuth, RegistryAuth
from tricorn.model.transfer import ImageStoreEnd, Naming, TransferEvent, Unpacking
from tricorn.ports import CredentialSource, RegistryWay
from tricorn.service.streams import MessageStream
from tricorn.service.transfer import RegistryEnd

types: Final = wire.package("containerd.types.transfer")
DESCRIPTOR: Final = wire.message("containerd.types.Descriptor")
_NONE, _CREDENTIALS, _REFRESH, _HEADER = range(4)  # AuthType
_ANSWER: Final = 120.0  # seconds that somebody has to type a password


def store_end(message: Any) -> ImageStoreEnd:
    """Return what an ImageStore says."""
    return ImageStoreEnd(
        name=message.name,
        labels=dict(message.labels),
        platforms=tuple(platforms_of(message.platforms)),
        all_metadata=message.all_metadata,
        manifest_limit=message.manifest_limit,
        references=tuple(
            Naming(each.name, each.is_prefix, each.allow_overwrite, each.add_digest, each.skip_named_digest)
            for each in message.extra_references
        ),
        unpacks=tuple(Unpacking(platform_of(each.platform), each.snapshotter) for each in message.unpacks),
    )


def registry_end(
    message: Any, credentials: CredentialSource | None, trace: Callable[[str], None] | None = None
) -> RegistryEnd:
    """Return what an OCIRegistry says. InvalidArgument for a directory that isn't absolute."""
    resolver = message.resolver
    if resolver.host_dir and not resolver.host_dir.startswith("/"):
        raise InvalidArgument("the hosts directory must be absolute", field="resolver.host_dir")
    if resolver.default_scheme not in {"", "http", "https"}:
        raise InvalidArgument("registries speak http or https", field="resolver.default_scheme")
    return RegistryEnd(
        reference=message.reference,
        auth=credentials,
        plain_http=resolver.default_scheme == "http",
        way=RegistryWay(resolver.host_dir, tuple(resolver.headers.items()), trace),
    )


def platform_of(message: Any) -> Platform:
    """Return what a Platform says."""
    return Platform(message.os, message.architecture, message.variant, message.os_version)


def platforms_of(messages: Iterable[Any]) -> list[Platform]:
    """Return what Platforms say."""
    return [platform_of(message) for message in messages]


def descriptor_of(descriptor: Descriptor) -> Any:
    """Return the message of a descriptor."""
    return DESCRIPTOR(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        annotations=descriptor.annotations,
    )


def progress_of(event: TransferEvent) -> Any:
    """Return the message of an event."""
    return types.Progress(
        event=event.event,
        name=event.name,
        parents=event.parents,
        progress=event.progress,
        total=event.total,
        desc=descriptor_of(event.descriptor) if event.descriptor else None,
    )


class StreamCredentials:
    """ports.CredentialSource over a stream to a client: asked once for each host, one at a time."""

    def __init__(self, stream: MessageStream, reference: str) -> None:
        self._stream = stream
        self._reference = reference
        self._answers: dict[str, RegistryAuth | None] = {}
        self._lock = trio.Lock()

    def known(self, host: str) -> RegistryAuth | None:
        return self._answers.get(host)

    async def ask(self, host: str, challenges: Iterable[str]) -> RegistryAuth | None:
        async with self._lock:
            if host not in self._answers:
                self._answers[host] = await self._ask(host, challenges)
            return self._answers[host]

    async def _ask(self, host: str, challenges: Iterable[str]) -> RegistryAuth | None:
        """None too when the client is gone or says nothing: the registry's refusal tells then."""
        request = types.AuthRequest(host=host, reference=self._reference, wwwauthenticate=list(challenges))
        answer = None
        try:
            with trio.move_on_after(_ANSWER):
                await self._stream.send(request)
                answer = await self._stream.receive()
        except TricornError:
            return None
        return _auth(answer) if isinstance(answer, types.AuthResponse) else None


def _auth(answer: Any) -> RegistryAuth | None:
    if answer.authType == _HEADER and answer.secret:
        return HeaderAuth(header=answer.secret)
    if answer.authType == _REFRESH and answer.secret:
        return RegistryAuth(identity_token=answer.secret)
    if answer.authType == _CREDENTIALS and (answer.username or answer.secret):
        return RegistryAuth(answer.username, answer.secret)
    return None
