# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tells in one JSON object what the role needs to know of a node.

The arguments are the directory of the releases, the agent's root directory, and names of Debian packages.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys


def missing(packages):
    """Return the packages that are not installed, None where dpkg isn't the package manager."""
    command = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n"]
    try:
        listed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")
    except (OSError, subprocess.CalledProcessError):
        return None
    return [name for name in packages if "installed " + name not in listed]


def current(prefix):
    """Return the name of the release that is to run, empty if none is installed."""
    release = os.path.realpath(os.path.join(prefix, "current"))
    return os.path.basename(release) if os.path.isfile(os.path.join(release, "complete")) else ""


def running(prefix, root):
    """Return the name of the release that does run, empty if none does."""
    try:
        with open(os.path.join(root, "lock"), encoding="ascii") as lock:
            pid = int(lock.read())
        with open("/proc/%d/cmdline" % pid, encoding="utf-8") as file:
            program = file.read().partition("\0")[0]
    except (OSError, ValueError):
        return ""
    releases = os.path.join(os.path.realpath(prefix), "releases") + "/"
    return program[len(releases):].partition("/")[0] if program.startswith(releases) else ""


def main(prefix, root, *packages):
    return {
        "python": "%d.%d" % sys.version_info[:2],
        "recent": sys.version_info >= (3, 11),
        "interpreter": os.path.realpath(sys.executable),
        "system": platform.system(),
        "machine": platform.machine(),
        "glibc": platform.libc_ver()[1],
        "systemd": os.path.isdir("/run/systemd/system"),  # sd_booted(3)
        "missing": missing(packages),
        "current": current(prefix),
        "running": running(prefix, root),
    }


print(json.dumps(main(*sys.argv[1:])))
