"""Which image of an index runs on a node: platform names and their order of preference.

The spellings and the order are containerd's (github.com/containerd/platforms): the wanted platform first,
then older variants of the architecture, then the 32-bit sibling.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from attrs import Factory, define, evolve

from tricorn import limits
from tricorn.errors import InvalidArgument, NotFound, ResourceExhausted
from tricorn.model.checkpoints import is_secret
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor, Platform, layer_types

_PART: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SYSTEMS: Final = frozenset(
    {"linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "illumos", "plan9", "wasi"}
)
_ARCHITECTURES: Final = frozenset(
    {
        "386", "amd64", "arm", "arm64", "loong64", "mips", "mipsle", "mips64", "mips64le", "ppc64",
        "ppc64le", "riscv64", "s390x", "wasm",
    }
)  # fmt: skip
_ALIASES: Final = {
    "i386": ("386", ""), "i686": ("386", ""), "x86_64": ("amd64", None), "x86-64": ("amd64", None),
    "aarch64": ("arm64", None), "armhf": ("arm", "v7"), "armel": ("arm", "v6"), "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"), "armv8l": ("arm", "v8"), "loongarch64": ("loong64", None),
}  # fmt: skip
_OFFERED: Final = 16  # platforms that an error names


def normalise(platform: Platform) -> Platform:
    """Return `platform` by its canonical names: x86_64 → amd64, arm64/v8 → arm64, armhf → arm/v7."""
    system = platform.os.lower() or "linux"
    architecture = platform.architecture.lower()
    variant: str | None = platform.variant.lower()
    if architecture in _ALIASES:
        architecture, fixed = _ALIASES[architecture]
        variant = variant if fixed is None else fixed
    return evolve(
        platform,
        os="darwin" if system == "macos" else system,
        architecture=architecture,
        variant=_variant(architecture, variant or ""),
    )


def parse(text: str, default: Platform, field: str = "platform") -> Platform:
    """Return the platform that `text` (`os/arch[/variant]`, `arch` or `os`) names; `default` when empty.

    Raises InvalidArgument naming `field`.
    """
    if not text:
        return default
    parts = text.split("/")
    if len(parts) > 3 or not all(map(_PART.fullmatch, parts)):
        raise _malformed(text, field)
    if len(parts) == 1:
        return _parse_single(text, default, field)
    platform = normalise(Platform(parts[0], parts[1], parts[2] if len(parts) == 3 else ""))
    if platform.architecture not in _ARCHITECTURES or platform.os not in _SYSTEMS:
        raise _malformed(text, field)
    return platform


def host_platform(machine: str) -> Platform:
    """Return the platform of a Linux host whose `uname -m` says `machine`."""
    return normalise(Platform("linux", machine))


def preference(wanted: Platform) -> tuple[Platform, ...]:
    """Return what a node of platform `wanted` can run, best first."""
    return tuple(_vector(normalise(wanted)))


def choose(manifests: Iterable[Descriptor], wanted: Platform) -> Descriptor:
    """Return the entry of an index that suits `wanted` best, the first of equals.

    An entry without a platform is taken when no other suits (its config tells what it really is), and
    attestations (unknown/unknown) never. Raises NotFound naming what is offered.
    """
    order = {_key(platform): rank for rank, platform in enumerate(preference(wanted))}
    offered = [entry for entry in manifests if not _is_attestation(entry) and _is_document(entry)]
    last = len(order)
    ranked = [
        (order.get(_key(normalise(entry.platform)), last + 1) if entry.platform else last, entry)
        for entry in offered
    ]
    rank, best = min(ranked, key=lambda pair: pair[0], default=(last + 1, None))
    if best is None or rank > last:
        raise _nothing_suits(offered, wanted)
    return best


def _is_document(entry: Descriptor) -> bool:
    """Tell images from the other parts that the index of a checkpoint holds."""
    return not is_secret(entry.media_type) and entry.media_type not in layer_types()


@define
class IndexBudget:
    """What one pull may spend on walking indexes: nodes, depth and bytes, each document once."""

    nodes: int = limits.INDEX_NODES
    depth: int = limits.INDEX_DEPTH
    bytes: int = limits.INDEX_BYTES
    _seen: set[Digest] = Factory(set)

    def admit(self, descriptor: Descriptor, depth: int) -> bool:
        """Account for reading `descriptor` at `depth` (the root is 0). False: it was read already.

        Raises ResourceExhausted when the budget is spent.
        """
        if depth > self.depth:
            raise ResourceExhausted("index is nested too deeply", why=f"at most {self.depth} levels")
        if descriptor.digest in self._seen:
            return False
        self._seen.add(descriptor.digest)
        self.nodes -= 1
        self.bytes -= descriptor.size
        if self.nodes < 0:
            raise ResourceExhausted("image names too many documents", why=f"over {limits.INDEX_NODES}")
        if self.bytes < 0:
            raise ResourceExhausted("the image's documents are too large", why="together over the limit")
        return True


def _variant(architecture: str, variant: str) -> str:
    if variant.isdecimal():
        variant = f"v{variant}"
    if (architecture, variant) in {("amd64", "v1"), ("arm64", "v8")}:
        return ""
    if architecture == "arm" and not variant:
        return "v7"
    return variant


def _vector(platform: Platform) -> Iterator[Platform]:
    yield platform
    if platform.architecture == "amd64":
        yield from _older(platform, _major(platform.variant), 1)
        yield evolve(platform, architecture="386", variant="")
    elif platform.architecture == "arm":
        yield from _older(platform, _major(platform.variant), 5)
    elif platform.architecture == "arm64":
        yield from _arm64(platform)


def _older(platform: Platform, newest: int, oldest: int) -> Iterator[Platform]:
    for number in range(newest - 1, oldest - 1, -1):
        yield normalise(evolve(platform, variant=f"v{number}"))


def _arm64(platform: Platform) -> Iterator[Platform]:
    """arm64/v9.x runs v9.{x-1…0} and v8.{x+5…0}; each arm64 also runs 32-bit arm/v8 and older."""
    major, _, minor_text = (platform.variant or "v8").removeprefix("v").partition(".")
    minor = int(minor_text) if minor_text.isdecimal() and len(minor_text) < 3 else 0
    if major == "9":
        yield from _minors(platform, 9, minor - 1)
        yield from _minors(platform, 8, minor + 5)
    elif major == "8":
        yield from _minors(platform, 8, minor - 1)
    arm = evolve(platform, architecture="arm", variant="v8")
    yield arm
    yield from _older(arm, 8, 5)


def _minors(platform: Platform, major: int, newest: int) -> Iterator[Platform]:
    for minor in range(newest, -1, -1):
        variant = f"v{major}.{minor}" if minor else f"v{major}"
        yield normalise(evolve(platform, variant=variant))


def _major(variant: str) -> int:
    number = variant.removeprefix("v").partition(".")[0]
    return int(number) if number.isdecimal() and len(number) < 3 else 0


def _key(platform: Platform) -> tuple[str, str, str]:
    return platform.os, platform.architecture, platform.variant


def _is_attestation(entry: Descriptor) -> bool:
    if entry.annotations.get("vnd.docker.reference.type") == "attestation-manifest":
        return True
    return entry.platform is not None and "unknown" in {entry.platform.os, entry.platform.architecture}


def _parse_single(text: str, default: Platform, field: str) -> Platform:
    platform = normalise(Platform("linux", text))
    if platform.architecture in _ARCHITECTURES:
        return platform
    system = normalise(Platform(text, default.architecture)).os
    if system not in _SYSTEMS:
        raise _malformed(text, field)
    return evolve(default, os=system)


def _malformed(text: str, field: str) -> InvalidArgument:
    return InvalidArgument(
        f"unknown platform {text[:100]!r}",
        hint="a platform looks like linux/amd64 or linux/arm/v7",
        field=field,
    )


def _nothing_suits(offered: list[Descriptor], wanted: Platform) -> NotFound:
    names = sorted({str(normalise(entry.platform)) for entry in offered if entry.platform})
    listed = ", ".join(name[:64] for name in names[:_OFFERED]) or "none"
    more = f" and {len(names) - _OFFERED} more" if len(names) > _OFFERED else ""
    return NotFound(
        f"the image has nothing for platform {wanted}",
        why=f"it offers {listed}{more}",
        hint="ask for one of these platforms",
    )
