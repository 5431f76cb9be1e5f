"""Image references by distribution's grammar, normalised as Docker does.

`redis` → `docker.io/library/redis:latest`; `localhost:5000/a/b@sha256:…` keeps its host, port and digest.
Source: github.com/distribution/reference (grammar), Docker's familiar names.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest

_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN: Final = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_PATH_PART: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
DEFAULT_HOST: Final = "docker.io"
DEFAULT_TAG: Final = "latest"


@frozen
class Reference:
    """A normalised name: `host[:port]`, repository path, and a tag, a digest or both."""

    host: str
    path: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, field: str = "reference") -> Reference:
        """Return the reference `text` stands for; raise InvalidArgument naming `field`."""
        if not text or len(text) > limits.REFERENCE_LENGTH:
            raise _bad(
                text, "it is empty" if not text else f"over {limits.REFERENCE_LENGTH} characters", field
            )
        rest, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text, field) if at else None
        name, tag = _split_tag(rest)
        if tag is not None and not _TAG.fullmatch(tag):
            raise _bad(text, f"tag {tag[:140]!r} is malformed", field)
        host, path = _split_host(name)
        if not _DOMAIN.fullmatch(host):
            raise _bad(text, f"host {host[:140]!r} is malformed", field)
        if len(path) > 255 or not all(_PATH_PART.fullmatch(part) for part in path.split("/")):
            hint = "repository names are lower-case" if path.lower() != path else ""
            raise _bad(text, f"repository {path[:140]!r} is malformed", field, hint)
        return cls(host, path, tag or ("" if digest else DEFAULT_TAG), digest)

    @property
    def name(self) -> str:
        """The repository with its host."""
        return f"{self.host}/{self.path}"

    @property
    def object(self) -> str:
        """What a registry is asked for: the digest where there is one, else the tag."""
        return str(self.digest) if self.digest else self.tag

    def familiar(self) -> str:
        """Return the short form that people type: `redis:7`."""
        text = str(self)
        return text.removeprefix(f"{DEFAULT_HOST}/library/").removeprefix(f"{DEFAULT_HOST}/")

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.path}{tag}{digest}"


def _split_tag(text: str) -> tuple[str, str | None]:
    slash = text.rfind("/")
    colon = text.rfind(":")
    if colon > slash:
        return text[:colon], text[colon + 1 :]
    return text, None


def _split_host(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        return (DEFAULT_HOST if first == "index.docker.io" else first), _official(first, rest)
    return DEFAULT_HOST, _official(DEFAULT_HOST, name)


def _official(host: str, path: str) -> str:
    if host in {DEFAULT_HOST, "index.docker.io"} and "/" not in path:
        return f"library/{path}"
    return path


def _bad(text: str, why: str, field: str, hint: str = "") -> InvalidArgument:
    return InvalidArgument(
        f"image reference {text[:200]!r} is malformed",
        why=why,
        hint=hint or "a reference looks like [HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]",
        field=field,
    )
