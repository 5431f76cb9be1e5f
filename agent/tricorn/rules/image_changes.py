"""Dockerfile instructions that say how an image is run, as `commit --change` takes them. Pure.

Source: Docker's Dockerfile reference. Instructions that build something (RUN, COPY) are none of these.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tricorn.errors import InvalidArgument

Config = dict[str, Any]
_PORT: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
_SHELL: Final = ("/bin/sh", "-c")


def with_changes(config: Mapping[str, Any], changes: Sequence[str]) -> Config:
    """Return the `config` member of an image config after the instructions, in their order.

    Raises InvalidArgument naming the instruction at fault. As in a Dockerfile, ENTRYPOINT drops a CMD that
    came from the base image.
    """
    made = dict(config)
    inherited = "Cmd" in made
    for number, text in enumerate(changes):
        field = f"changes[{number}]"
        verb, _, rest = text.strip().partition(" ")
        instruction = _INSTRUCTIONS.get(verb.upper())
        if instruction is None:
            known = ", ".join(sorted(_INSTRUCTIONS))
            raise InvalidArgument(
                f"{verb[:40]!r} is no instruction for a commit", hint=f"there are {known}", field=field
            )
        if not rest.strip():
            raise InvalidArgument(f"{verb.upper()} says nothing", field=field)
        instruction(made, rest.strip(), field)
        inherited = inherited and verb.upper() != "CMD"
        if verb.upper() == "ENTRYPOINT" and inherited:
            made.pop("Cmd", None)
    return made


def _list(text: str) -> list[str] | None:
    """Return the words of the JSON form, None for another form."""
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except ValueError:
        return None  # as Docker has it: then it is for the shell
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def _words(text: str, field: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidArgument("a quotation has no end", why=str(error), field=field) from None


def _program(key: str) -> Callable[[Config, str, str], None]:
    def change(config: Config, text: str, _: str) -> None:
        words = _list(text)
        config[key] = [*_SHELL, text] if words is None else words

    return change


def _pairs(text: str, field: str) -> list[tuple[str, str]]:
    words = _words(text, field)
    if "=" not in words[0]:  # the old form: one name, then all the rest
        name, _, rest = text.partition(" ")
        if not rest.strip():
            raise InvalidArgument("NAME=VALUE expected", field=field)
        return [(name, rest.strip())]
    pairs = [word.partition("=") for word in words]
    if not all(name and equals for name, equals, _ in pairs):
        raise InvalidArgument("NAME=VALUE expected", field=field)
    return [(name, rest) for name, _, rest in pairs]


def _env(config: Config, text: str, field: str) -> None:
    now = [entry.partition("=") for entry in config.get("Env") or ()]
    merged = {name: rest for name, _, rest in now} | dict(_pairs(text, field))
    config["Env"] = [f"{name}={rest}" for name, rest in merged.items()]


def _labels(config: Config, text: str, field: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs(text, field))}


def _expose(config: Config, text: str, field: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in _words(text, field):
        match = _PORT.fullmatch(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 0 < first <= last <= 0xFFFF:
            raise InvalidArgument(
                f"{word[:40]!r} is no port", hint="a port looks like 80 or 53/udp", field=field
            )
        ports |= {f"{port}/{match[3] or 'tcp'}": {} for port in range(first, last + 1)}
    config["ExposedPorts"] = ports


def _volume(config: Config, text: str, field: str) -> None:
    words = _list(text) or _words(text, field)
    config["Volumes"] = {**(config.get("Volumes") or {}), **{word: {} for word in words}}


def _workdir(config: Config, text: str, field: str) -> None:
    (word,) = _one(text, field)
    config["WorkingDir"] = posixpath.normpath(posixpath.join(config.get("WorkingDir") or "/", word))


def _text(key: str) -> Callable[[Config, str, str], None]:
    def change(config: Config, text: str, field: str) -> None:
        (config[key],) = _one(text, field)

    return change


def _one(text: str, field: str) -> list[str]:
    words = _words(text, field)
    if len(words) != 1:
        raise InvalidArgument("one word expected", why=f"there are {len(words)}", field=field)
    return words


_INSTRUCTIONS: Final[Mapping[str, Callable[[Config, str, str], None]]] = {
    "CMD": _program("Cmd"),
    "ENTRYPOINT": _program("Entrypoint"),
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _labels,
    "STOPSIGNAL": _text("StopSignal"),
    "USER": _text("User"),
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
