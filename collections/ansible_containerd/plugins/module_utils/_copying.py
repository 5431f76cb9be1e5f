# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What container_copy says to the agent: four ways to have files, one shape of the answer."""

from __future__ import annotations

import posixpath

from ansible_collections.tricorn.containerd.plugins.module_utils._answers import plan
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, request


def mode(option, value):
    """Return a mode as a number: texts are octal, and YAML has made numbers of what begins with a zero."""
    if value is None or isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return int(str(value), 8)
    except ValueError:
        raise AgentError("%s: %r is no octal number (hint: write it in quotes, as in \"0644\")" % (option, value))


def container_copy(options, check_mode):
    place = (options["namespace"], "containers", options["container"])
    modes = {key: mode(key, options[key]) for key in ("mode", "directory_mode")}
    if options.get("archive") is not None:
        wanted = _archive(place, options, modes, check_mode)
    elif options["content"] is not None or options["state"] is not None:
        wanted = request("PUT", *(place + ("files",)), query=plan(check_mode), body=_file(options, modes))
    else:
        wanted = request("PUT", *(place + ("copy",)), query=plan(check_mode), body=_copy(options, modes))
    (response,) = yield [wanted]
    return _copied(response.result(), options)


def _file(options, modes):
    body = {"path": options["path"], "type": "directory" if options["state"] else "file", "show": True}
    body.update(uid=options["owner"], gid=options["group"], parents=options["parents"])
    if options["content"] is not None:
        body.update(content=options["content"], encoding=options["encoding"])
    chosen = modes["directory_mode" if options["state"] and modes["directory_mode"] is not None else "mode"]
    return body if chosen is None else dict(body, mode=chosen)


def _copy(options, modes):
    out = options["dest"] is not None
    if not out and not options["remote_src"]:
        raise AgentError("src: a file of the controller takes the action plugin (hint: set remote_src for the node's)")
    body = {key: value for key, value in modes.items() if value is not None}
    body.update(path=options["path"], node_path=options["dest"] if out else options["src"], show=True)
    body.update(to="node" if out else "container", follow=options["follow"], parents=options["parents"])
    return dict(body, uid=options["owner"], gid=options["group"])


def _archive(place, options, modes, check_mode):
    query = [(key, value) for key, value in modes.items() if value is not None]
    query += [("path", posixpath.dirname(options["path"]) or "/"), ("uid", options["owner"]), ("gid", options["group"])]
    query += [("parents", "true")] * options["parents"] + plan(check_mode)
    return request("PUT", *(place + ("archive",)), query=query, body=options["archive"])


def _copied(change, options):
    before, after = change["before"].get("files", {}), change["after"].get("files", {})
    header = options["dest"] or options["path"]
    diff = {"before": before, "after": after, "before_header": header, "after_header": header}
    texts = [files.get(header, {}).get("content") for files in (before, after)]
    if len(after) == 1 and texts[1] is not None and (texts[0] is not None or not before):
        diff.update(before=texts[0] or "", after=texts[1])
    for files in (before, after):
        for facts in files.values():
            facts.pop("content", None)
    return {
        "changed": change["changed"],
        "actions": change["actions"],
        "files": after,
        "checksum": after.get(header, {}).get("sha256"),
        "diff": diff,
    }
