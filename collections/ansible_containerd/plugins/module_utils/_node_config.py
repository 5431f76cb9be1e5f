# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What node_config says to the agent's program, and what it makes of the answer: no I/O."""

from __future__ import annotations

import json

MISSING = (126, 127)  # what a shell says of a program that it can't run


def command(options, check_mode):
    """Return the words that bring a part of the configuration about, or in check mode only plan it."""
    words = [options["program"], "--config", options["config_file"], "config", "put", options["name"]]
    return words + (["--plan"] if check_mode else ["--reload"] if options["reload"] else [])


def document(options):
    """Return what the program reads: secrets are on no command line."""
    keys = ("state", "settings", "secrets")
    return json.dumps(dict((key, options[key] or {}) if key != "state" else (key, options[key]) for key in keys))


def result(options, code, output, errors):
    """Return the module's result."""
    if code:
        hint = " (hint: is the agent installed, and is the option 'program' right?)" if code in MISSING else ""
        message = " ".join((errors or output).split()) or "it ended with status %d" % code
        return {"failed": True, "msg": message + hint}
    try:
        found = json.loads(output[output.index("{"):])
    except ValueError:
        return {"failed": True, "msg": "%s did not answer with JSON: %s" % (options["program"], output[:200])}
    changed = found["secrets"]
    shown = {"before_header": found["file"], "after_header": found["file"]}
    for side, told in (("before", "as they were"), ("after", "changed")):
        shown[side] = dict(found[side], **({"(secrets)": dict((name, told) for name in changed)} if changed else {}))
    return {
        "changed": found["changed"],
        "file": found["file"],
        "secrets": changed,
        "reload_keys": found["reload"],
        "restart_keys": found["restart"],
        "reload_required": bool(found["reload"]) and not options["reload"],
        "restart_required": bool(found["restart"]),
        "diff": shown,
    }
