"""How each node of an inventory is reached: from what Ansible knows to a command that leads to the agent."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import field, frozen

from tricorn.errors import TricornError, Unimplemented
from tricorn.fleet.relay import PROGRAM

_PYTHON: Final = "/usr/bin/python3"
_LONGEST_PATH: Final = 107  # of a socket's address
_SUFFIX: Final = 20  # that ssh appends while it makes one
_LOCAL: Final = "local"


@frozen
class Place:
    """A node: `command` leads to its agent. Without one, `trouble` says why there is none."""

    name: str
    groups: tuple[str, ...] = ()
    address: str = ""
    socket: str = ""
    command: tuple[str, ...] = field(default=(), repr=False)
    trouble: TricornError | None = None


def place(host: Mapping[str, Any], socket: str) -> Place:
    """Return the place of one host as the resolver describes it; `socket` unless the host names its own."""
    name, groups = str(host["name"]), tuple(host["groups"])
    if "error" in host:
        why = " ".join(str(host["error"]).split())
        return Place(name, groups, trouble=Unimplemented("Ansible can't tell how to reach it", why=why))
    address = str((host.get("ssh") or {}).get("host") or "")
    socket = str(host["socket"] or socket)
    try:
        return Place(name, groups, address, socket, tuple(_command(host, socket)))
    except TricornError as error:
        return Place(name, groups, address, socket, trouble=error)


def _command(host: Mapping[str, Any], socket: str) -> list[str]:
    relay = [*_become(host["become"]), _python(host), "-I", "-S", "-c", PROGRAM, socket]
    if host["connection"] == _LOCAL:
        return relay
    if host["connection"] != "ssh":
        raise Unimplemented(
            f"connection {host['connection']} leads nowhere here", hint="nodes are reached by ssh or local"
        )
    if host["password"]:
        raise Unimplemented("it wants a password", hint="log in by a key")
    return [*_ssh(host["ssh"]), shlex.join(relay)]


def _python(host: Mapping[str, Any]) -> str:
    known = str(host["python"])
    if known.startswith("/"):
        return known
    return sys.executable if host["connection"] == _LOCAL else _PYTHON


def _become(asked: Mapping[str, Any]) -> list[str]:
    if str(asked.get("become", "")).lower() not in ("true", "yes", "1"):
        return []
    method = asked.get("become_method") or "sudo"
    if method.rpartition(".")[2] != "sudo":
        raise Unimplemented(f"becoming another user by {method} isn't known here", hint="sudo is")
    return [asked.get("become_exe") or "sudo", "-n", "-u", asked.get("become_user") or "root", "--"]


def _ssh(options: Mapping[str, Any]) -> list[str]:
    """Return ssh with the options that Ansible would give it, in its order: the first of a kind counts."""
    words = [options["ssh_executable"] or "ssh", "-T", "-o", "BatchMode=yes"]
    words += shlex.split(options["ssh_args"] or "")
    if options["host_key_checking"] is False:
        words += ["-o", "StrictHostKeyChecking=no"]
    for name, key in (("Port", "port"), ("IdentityFile", "private_key_file"), ("User", "remote_user")):
        if options[key]:
            value = os.path.expanduser(options[key]) if key == "private_key_file" else options[key]
            words += ["-o", f'{name}="{value}"']
    words += ["-o", f"ConnectTimeout={options['timeout']}"]
    for key in ("ssh_common_args", "ssh_extra_args"):
        words += shlex.split(options[key] or "")
    return [*words, *_control_path(words, options["control_path"]), "--", str(options["host"])]


def _control_path(words: Sequence[str], path: str) -> list[str]:
    """Return where connections wait for the next look, playbooks' own among them; nothing if they don't."""
    text = " ".join(words).lower()
    if "controlpersist" not in text or "controlpath" in text:
        return []
    if not path or len(path) + _SUFFIX > _LONGEST_PATH:
        return ["-o", "ControlMaster=no"]
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    return ["-o", f'ControlPath="{path}"']
