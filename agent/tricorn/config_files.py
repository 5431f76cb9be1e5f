"""Files of the configuration as desired states: `conf.d/NAME.toml`, and the secrets that it refers to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import toml
from attrs import Factory, frozen

from tricorn.config import DEFAULT_PATH, LIVE_KEYS, Config, changed_keys, load, read_file
from tricorn.errors import InvalidArgument
from tricorn.structuring import structure

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@frozen
class Desired:
    """What a file of `conf.d` shall hold. `secrets` are contents of files below `secrets` beside it, by their
    names, None for one that shall go; settings name them by their paths.
    """

    state: Literal["present", "absent"] = "present"
    settings: Mapping[str, Any] = Factory(dict)
    secrets: Mapping[str, str | None] = Factory(dict)


def put(path: str | None, name: str, document: Any, *, plan: bool = False) -> dict[str, Any]:
    """Make sure that `conf.d/NAME.toml` beside the configuration `path` holds these settings and no others,
    or that it is gone; under `plan` only say so. Each file changes as a whole, and is on disk at the return.

    Returns `changed`, the `file`, its settings `before` and `after` (secrets only by their names), and the
    top-level keys that a running agent takes over at a `reload` and at a `restart`. InvalidArgument if the
    agent wouldn't take the configuration that comes of it.
    """
    desired = structure(document, Desired, "the request")
    directory = Path(path or DEFAULT_PATH).absolute().parent
    file = directory / "conf.d" / f"{_checked(name)}.toml"
    secrets = {directory / "secrets" / _checked(each): text for each, text in desired.secrets.items()}
    wanted = None if desired.state == "absent" else dict(desired.settings)
    found = read_file(file) if file.is_file() else None
    stale = {place: text for place, text in secrets.items() if _text(place) != text}
    keys = _changed_keys(path, load(path, {str(file): wanted})) if found != wanted else []
    if not plan:
        _write_secrets({place: text for place, text in stale.items() if text is not None})
        if found != wanted:
            _write_settings(file, wanted)
        for place, text in stale.items():
            if text is None:
                place.unlink()
    return {
        "changed": found != wanted or bool(stale),
        "file": str(file),
        "before": found or {},
        "after": wanted or {},
        "secrets": sorted(place.name for place in stale),
        "reload": [*(key for key in keys if key in LIVE_KEYS), *(["secrets"] if stale else [])],
        "restart": [key for key in keys if key not in LIVE_KEYS],
    }


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{name[:160]!r} can't be the name of a file here", hint="letters, digits, '.', '_' and '-'"
        )
    return name


def _changed_keys(path: str | None, new: Config) -> list[str]:
    """Return the top-level keys that change; all, where what is there now can't be read."""
    try:
        return changed_keys(load(path), new)
    except InvalidArgument:
        return changed_keys(Config(), new)


def _text(place: Path) -> str | None:
    try:
        return place.read_text()
    except FileNotFoundError:
        return None


def _write_secrets(secrets: Mapping[Path, str]) -> None:
    for place, text in secrets.items():
        place.parent.mkdir(mode=0o700, exist_ok=True)
        _replace(place, text, 0o600)


def _write_settings(file: Path, wanted: Mapping[str, Any] | None) -> None:
    if wanted is None:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(mode=0o755, exist_ok=True)
    _replace(file, toml.dumps(wanted), 0o644)


def _replace(place: Path, text: str, mode: int) -> None:
    """Write a file in one step: whoever reads it finds the old content or the new one."""
    scratch = place.with_name(f".{place.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "w") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(scratch, place)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    directory = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
