"""Configuration lists of the Container Network Interface, as its specification 1.0 and 1.1 has them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from attrs import evolve, frozen

from tricorn.errors import FailedPrecondition, InvalidArgument, TricornError, Unavailable
from tricorn.model.networks import Port

PORTS: Final = "portMappings"
_OBLIGING: Final = frozenset({"host-local", "static"})  # address management that gives the one asked for
CURRENT: Final = "1.1.0"  # the newest specification that this agent speaks
_OLDEST: Final = (0, 3, 1)  # lists and results have had their form since
_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TRY_AGAIN: Final = 11


@frozen
class ConfigList:
    """A network that plugins make, one after the other."""

    name: str
    version: str
    plugins: tuple[Mapping[str, Any], ...]
    disable_check: bool = False
    disable_gc: bool = False

    @property
    def checkable(self) -> bool:
        return not self.disable_check and _numbers(self.version) >= (0, 4, 0)

    @property
    def collectable(self) -> bool:
        return not self.disable_gc and _numbers(self.version) >= (1, 1, 0)

    def takes(self, capability: str) -> bool:
        """Return whether a plugin wants to be told of `capability`."""
        return any((plugin.get("capabilities") or {}).get(capability) for plugin in self.plugins)


def parse_list(data: bytes | Mapping[str, Any], origin: str) -> ConfigList:
    """Return the list that a file holds; InvalidArgument names `origin` and the field."""
    document = _decode(data, origin) if isinstance(data, bytes) else data
    name, plugins = document.get("name"), document.get("plugins")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidArgument(f"{origin} names no network", why=repr(name)[:100], field="name")
    if not isinstance(plugins, list) or not plugins:
        raise InvalidArgument(
            f"{origin} has no plugins", hint="a configuration list (.conflist) is needed", field="plugins"
        )
    for place, plugin in enumerate(plugins):
        kind = plugin.get("type") if isinstance(plugin, dict) else None
        if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
            raise InvalidArgument(
                f"{origin}: plugin {place} has no valid type", why=repr(kind)[:100],
                field=f"plugins[{place}].type",
            )  # fmt: skip
    return ConfigList(
        name, _version(document, origin), tuple(plugins), _truth(document.get("disableCheck")),
        _truth(document.get("disableGC")),
    )  # fmt: skip


def _decode(data: bytes, origin: str) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{origin} is no JSON object", why=str(error)[:200]) from None


def _version(document: Mapping[str, Any], origin: str) -> str:
    """Return the version to speak: the newest that the list and this agent know."""
    named = [document.get("cniVersion") or "0.2.0", *(document.get("cniVersions") or ())]
    known = [
        text for text in named if isinstance(text, str) and _OLDEST <= _numbers(text) <= _numbers(CURRENT)
    ]
    if not known:
        raise InvalidArgument(
            f"{origin}: version {named[0]!r} of CNI isn't known", why=f"0.3.1 to {CURRENT} are",
            field="cniVersion",
        )  # fmt: skip
    return max(known, key=_numbers)


def _numbers(version: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version.split("."))
    except ValueError:
        return ()


def _truth(value: Any) -> bool:
    return value is True or value == "true"


def as_document(config: ConfigList) -> dict[str, Any]:
    """Return the list in the form that `parse_list` reads."""
    return {
        "cniVersion": config.version, "name": config.name, "plugins": [dict(each) for each in config.plugins],
        "disableCheck": config.disable_check, "disableGC": config.disable_gc,
    }  # fmt: skip


def asked_for(config: ConfigList, addresses: Sequence[str]) -> ConfigList:
    """Return a list that asks its address management for addresses (with the length of their prefix), by the
    convention `args`. FailedPrecondition where none of its plugins takes such wishes.
    """
    kinds = {str((plugin.get("ipam") or {}).get("type") or "") for plugin in config.plugins} - {""}
    if not kinds & _OBLIGING:
        raise FailedPrecondition(
            f"CNI network {config.name} can't be asked for address {addresses[0].partition('/')[0]}",
            why=f"its addresses are managed by {', '.join(sorted(kinds)) or 'nobody'}",
            hint=f"the plugins {', '.join(sorted(_OBLIGING))} take such wishes",
        )
    told = [
        {**plugin, "args": {**(plugin.get("args") or {}), "cni": {"ips": list(addresses)}}}
        if (plugin.get("ipam") or {}).get("type") in _OBLIGING else plugin
        for plugin in config.plugins
    ]  # fmt: skip
    return evolve(config, plugins=tuple(told))


def plugin_input(
    config: ConfigList,
    plugin: Mapping[str, Any],
    *,
    capabilities: Mapping[str, Any] | None = None,
    previous: Mapping[str, Any] | None = None,
    valid: Sequence[Mapping[str, str]] | None = None,
) -> bytes:
    """Return what a plugin reads: its configuration with the network's name and version, what it wants to be
    told of `capabilities`, the result of the plugin before it, or for GC the attachments that are `valid`.
    """
    document = {key: value for key, value in plugin.items() if key != "capabilities"}
    document |= {"cniVersion": config.version, "name": config.name}
    wanted = plugin.get("capabilities") or {}
    told = {key: value for key, value in (capabilities or {}).items() if wanted.get(key) and value}
    if told:
        document["runtimeConfig"] = told
    if previous is not None:
        document["prevResult"] = dict(previous)
    if valid is not None:
        document["cni.dev/valid-attachments"] = list(valid)
    return msgspec.json.encode(document)


def port_mappings(ports: Sequence[Port]) -> list[dict[str, Any]]:
    """Return ports as the capability `portMappings` has them."""
    return [
        {"hostPort": port.host, "containerPort": port.container, "protocol": port.protocol}
        | ({"hostIP": port.address} if port.address else {})
        for port in ports
    ]


def check_ports(config: ConfigList, ports: Sequence[Port]) -> None:
    """Refuse ports that no plugin of the list would publish. FailedPrecondition."""
    if ports and not config.takes(PORTS):
        raise FailedPrecondition(
            f"CNI network {config.name} publishes no ports", why=f"none of its plugins takes {PORTS}",
            hint='add {"type": "portmap", "capabilities": {"portMappings": true}} to its plugins',
            field="ports",
        )  # fmt: skip


def addresses(result: Mapping[str, Any] | None) -> list[str]:
    """Return the container's addresses of a result, with the lengths of their prefixes."""
    found = (result or {}).get("ips") or ()
    return [str(each["address"]) for each in found if isinstance(each, Mapping) and each.get("address")]


def gateway(result: Mapping[str, Any] | None) -> str:
    found = (result or {}).get("ips") or ()
    return next((str(each["gateway"]) for each in found if each.get("gateway")), "")


def resolver(result: Mapping[str, Any] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the name servers and search domains of a result."""
    dns = (result or {}).get("dns") or {}
    return tuple(map(str, dns.get("nameservers") or ())), tuple(map(str, dns.get("search") or ()))


def failure(plugin: str, network: str, command: str, output: bytes, errors: bytes, code: int) -> TricornError:
    """Return the error for a plugin that failed, with its words."""
    what = f"CNI plugin {plugin} of network {network} failed at {command}"
    try:
        document = msgspec.json.decode(output, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        words = " ".join((errors or output).decode(errors="replace").split())[:600]
        return FailedPrecondition(what, why=words or f"exit status {code}", plugin=plugin)
    texts = [str(document.get(key) or "") for key in ("msg", "details")]
    why = ": ".join(filter(None, texts))[:1000] or f"exit status {code}"
    number = document.get("code")
    made = Unavailable if number == _TRY_AGAIN else FailedPrecondition
    return made(what, why=why, plugin=plugin, plugin_code=number)


def parse_result(output: bytes, plugin: str, network: str) -> dict[str, Any]:
    """Return what a plugin answered to ADD. FailedPrecondition for anything but a result."""
    try:
        return msgspec.json.decode(output, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FailedPrecondition(
            f"CNI plugin {plugin} of network {network} gave no result", why=str(error)[:200], plugin=plugin
        ) from None


def parse_versions(output: bytes) -> tuple[str, ...]:
    """Return the versions that a plugin answered to VERSION; none for what is no answer."""
    try:
        document = msgspec.json.decode(output, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()
    return tuple(str(each) for each in document.get("supportedVersions") or ())
