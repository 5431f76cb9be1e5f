# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tells in one JSON object what the role needs to know of a node; the arguments are names of Debian packages."""

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


print(
    json.dumps(
        {
            "python": "%d.%d" % sys.version_info[:2],
            "recent": sys.version_info >= (3, 11),
            "interpreter": os.path.realpath(sys.executable),
            "system": platform.system(),
            "machine": platform.machine(),
            "glibc": platform.libc_ver()[1],
            "systemd": os.path.isdir("/run/systemd/system"),  # sd_booted(3)
            "missing": missing(sys.argv[1:]),
        }
    )
)
