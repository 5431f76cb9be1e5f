# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Brings files of the controller: small ones as content, the rest as an archive over the relay."""

from __future__ import annotations

import base64
import io
import os
import posixpath
import stat
import tarfile

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.tricorn.containerd.plugins.plugin_utils._relay import RelayAction

SMALL = 1 << 20
LARGE = 256 << 20


def archive_of(source, top):
    """Return the tar of a file or directory, its names beginning with C(top)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for directory, names, files in os.walk(source):
            names.sort()
            if buffer.tell() > LARGE:
                raise AnsibleActionFail("%s is too large: bring it to the node, and set remote_src" % source)
            below = os.path.relpath(directory, source)
            place = top if below == "." else posixpath.join(top, *below.split(os.sep))
            archive.add(directory, place, recursive=False)
            links = [name for name in names if os.path.islink(os.path.join(directory, name))]
            for name in sorted(files + links):
                archive.add(os.path.join(directory, name), posixpath.join(place, name), recursive=False)
        if not os.path.isdir(source):
            archive.add(source, top, recursive=False)
    return buffer.getvalue()


class ActionModule(RelayAction):
    def run(self, tmp=None, task_vars=None):
        self._archive = None
        arguments = self._task.args
        if arguments.get("src") and not boolean(arguments.get("remote_src", False)):
            self._task.args = self._brought(dict(arguments))
        try:
            return super().run(tmp, task_vars)
        finally:
            self._task.args = arguments

    def _brought(self, arguments):
        source = self._find_needle("files", arguments.pop("src"))
        if arguments.keys() & {"content", "dest", "state"}:
            raise AnsibleActionFail("parameters are mutually exclusive: src|content|dest|state")
        status = os.stat(source)
        if stat.S_ISREG(status.st_mode) and status.st_size <= SMALL:
            with open(source, "rb") as file:
                content = base64.b64encode(file.read()).decode()
            mode = "%04o" % stat.S_IMODE(status.st_mode)
            return dict({"mode": mode}, content=content, encoding="base64", **arguments)
        if not self._can_relay():
            raise AnsibleActionFail("A connection that cannot pipeline brings no directories and no large files (hint: remote_src)")
        if status.st_size > LARGE:
            raise AnsibleActionFail("%s is too large: bring it to the node, and set remote_src" % source)
        top = posixpath.basename(str(arguments.get("path", "")).rstrip("/"))
        self._archive = archive_of(source, top or "root")
        return dict(arguments, src=source, remote_src=True)

    def _given(self, options):
        return dict(options, archive=self._archive)
