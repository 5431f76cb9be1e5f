"""The agent's configuration: one TOML file, then `conf.d/*.toml` beside it, in the order of their names.

Tables merge key by key, lists and values replace. Unknown keys are refused by name, so that a typo never
passes for a setting.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import toml

from tricorn import limits
from tricorn.config.checks import check
from tricorn.config.settings import (
    LIVE_KEYS,
    Access,
    Collection,
    Config,
    Content,
    Credential,
    Logs,
    MigrationAllowance,
    Networks,
    PeerAllowance,
    Peers,
    PolicyConfig,
    RegistryConfig,
    Runtimes,
    Snapshots,
    UserNamespaceConfig,
)
from tricorn.errors import InvalidArgument, NotFound
from tricorn.structuring import structure

DEFAULT_PATH = "/etc/tricorn/config.toml"
CONFIG_SIZE = limits.MIB


def load(path: str | None = None, instead: Mapping[str, Mapping[str, Any] | None] | None = None) -> Config:
    """Read the file at `path` and its `conf.d`; None means the default place, which may be missing. `instead`
    holds what files of `conf.d` are taken to contain, by their paths: None for one that isn't there.

    Raises NotFound if a named file is missing, InvalidArgument naming file, key and remedy.
    """
    place = Path(path or DEFAULT_PATH)
    if path is not None and not place.is_file():
        raise NotFound(f"config file {path} does not exist", hint="`tricornd config default` prints one")
    merged: dict[str, Any] = {}
    given = {Path(name): content for name, content in (instead or {}).items()}
    for file in [place, *sorted({*place.parent.glob("conf.d/*.toml"), *given})]:
        if file in given:
            merged = _merge(merged, given[file] or {})
        elif file.is_file():
            merged = _merge(merged, read_file(file))
    config = structure(merged, Config, "the configuration")
    check(config)
    return config


def read_file(file: Path) -> dict[str, Any]:
    """Return what one file of the configuration holds; InvalidArgument naming it if it can't be read."""
    try:
        with file.open("rb") as stream:
            data = stream.read(CONFIG_SIZE + 1)
        if len(data) > CONFIG_SIZE:
            raise InvalidArgument(f"{file} is too large", why=f"over {CONFIG_SIZE} bytes")
        return toml.loads(data.decode())
    except OSError as error:
        raise InvalidArgument(f"cannot read {file}", why=os.strerror(error.errno or 0)) from None
    except (toml.TomlDecodeError, UnicodeDecodeError, IndexError, ValueError, KeyError, TypeError) as error:
        # toml 0.10 lets several kinds escape on malformed files
        raise InvalidArgument(f"{file} is not valid TOML", why=str(error)[:300]) from None


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]  # narrowed by `both`
    return merged


def dump(config: Config) -> str:
    """Return the whole configuration as TOML."""
    return str(toml.dumps(attrs.asdict(config, value_serializer=_plain)))


def _plain(_: Any, __: Any, value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def changed_keys(old: Config, new: Config) -> list[str]:
    """Return the top-level keys in which the two differ."""
    return [
        field.name for field in attrs.fields(Config) if getattr(old, field.name) != getattr(new, field.name)
    ]


__all__ = [
    "CONFIG_SIZE",
    "DEFAULT_PATH",
    "LIVE_KEYS",
    "Access",
    "Collection",
    "Config",
    "Content",
    "Credential",
    "Logs",
    "MigrationAllowance",
    "Networks",
    "PeerAllowance",
    "Peers",
    "PolicyConfig",
    "RegistryConfig",
    "Runtimes",
    "Snapshots",
    "UserNamespaceConfig",
    "changed_keys",
    "dump",
    "load",
    "read_file",
]
