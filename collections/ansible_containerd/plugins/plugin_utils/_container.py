# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the connections into containers share: commands and files, whatever way leads to the agent."""

from __future__ import annotations

import os
import posixpath
import shlex

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_text
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, request
from ansible_collections.tricorn.containerd.plugins.plugin_utils import _files, _processes

# What the become plugin puts before a command, for the connection to take away again: anywhere else it fails.
BECOME = "tricorn-exec-as"
NOT_FOUND = (126, 127)


def argv(command):
    """Return the words to execute for a command of Ansible's, and the user it shall become, or None."""
    words = _split(command)
    if len(words) != 3 or words[1] != "-c" or "%s -c %s" % (words[0], shlex.quote(words[2])) != command:
        words = ["/bin/sh", "-c", command]
    if not words[2].startswith(BECOME + " "):
        return words, None
    user, rest = words[2][len(BECOME) + 1:].split(" ", 1)
    return [words[0], "-c", rest], shlex.split(user)[0]


def _split(command):
    try:
        return shlex.split(command)
    except ValueError:
        return []


def owner(user, passwd):
    """Return the numbers of a user, given as C(name|uid[:gid]), by the lines of a container's passwd; else root's."""
    name, dummy, group = user.partition(":")
    entries = [line.split(":") for line in passwd.splitlines()]
    known = [entry for entry in entries if len(entry) > 3 and name in (entry[0], entry[2])]
    numbers = [int(field) for field in known[0][2:4]] if known else [int(name) if name.isdigit() else 0, 0]
    return numbers[0], int(group) if group.isdigit() else numbers[1]


class InContainer:
    """Mixin of connection plugins. They give C(_open), which returns a stream to the agent, and C(_who)."""

    has_pipelining = True
    has_tty = False
    _owner = None

    def _place(self):
        return self.get_option("namespace"), self.get_option("container")

    def _look(self):
        """Return the container as the agent sees it; what is missing is told by name."""
        namespace, name = self._place()
        with self._open() as stream:
            response = stream.call(request("GET", namespace, "containers", name))
        if response.missing:
            raise AnsibleConnectionFailure(
                "There is no container %r in the namespace %r of the agent at %s (hint: see the variables "
                "ansible_tricorn_container and ansible_tricorn_namespace)" % (name, namespace, stream.path)
            )
        return response.result()

    def exec_command(self, cmd, in_data=None, sudoable=True):
        """Run a command in the container; return its exit code, stdout and stderr."""
        self._refuse_passwords(sudoable)
        words, user = argv(to_text(cmd))
        process = {"args": words, "user": user or self._who()}
        namespace, name = self._place()
        try:
            with self._open() as stream:
                return _processes.execute(stream, namespace, name, process, in_data or b"")
        except AgentError as error:
            raise AnsibleConnectionFailure("Cannot run %s in the container %r: %s" % (words[0], name, self._why(error))) from None

    def _refuse_passwords(self, sudoable):
        if sudoable and self.become is not None and self.become.expect_prompt():
            raise AnsibleConnectionFailure(
                "Nothing in a container is asked for passwords (hint: become_method: tricorn.containerd.container_user "
                "needs none)"
            )

    def _why(self, error):
        """Return why a command can't be run; of a container that is missing more than the agent can know."""
        if (error.document or {}).get("code") == "NotFound":
            self._look()
        return error

    def put_file(self, in_path, out_path):
        """Copy a file of the controller into the container."""
        if not os.path.exists(in_path):
            raise AnsibleFileNotFound("file or module does not exist: %s" % in_path)
        path = posixpath.normpath(posixpath.join("/", out_path))
        self._copy("put", path, lambda stream: _files.place(stream, *self._place(), in_path, path, self._owned()))

    def fetch_file(self, in_path, out_path):
        """Copy a file out of the container to the controller."""
        path = posixpath.normpath(posixpath.join("/", in_path))
        self._copy("fetch", path, lambda stream: _files.fetch(stream, *self._place(), path, out_path))

    def _copy(self, verb, path, carry):
        try:
            self._owned()
            with self._open() as stream:
                carry(stream)
        except AgentError as error:
            raise AnsibleError("Cannot %s %s in the container %r: %s" % (verb, path, self.get_option("container"), error)) from None
        except OSError as error:
            raise AnsibleError("Cannot %s %s: %s" % (verb, path, error)) from None

    def _owned(self):
        """Return user and group of the files that come, as numbers: those of the commands'."""
        if self._owner is None:
            user = self._who()
            if user:
                self._owner = owner(user, self._passwd())
            else:
                process = (self._look().get("spec") or {}).get("process") or {}
                running = process.get("user") or {}
                self._owner = running.get("uid", 0), running.get("gid", 0)
        return self._owner

    def _passwd(self):
        try:
            with self._open() as stream:
                return _files.content(stream, *self._place(), "/etc/passwd").decode("utf-8", "replace")
        except AgentError:
            return ""
