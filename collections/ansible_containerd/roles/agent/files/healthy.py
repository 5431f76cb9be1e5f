# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waits until the agent of a release is ready; says why if it isn't.

The arguments are the release's directory, the agent's root directory, its socket, the seconds to wait, and the
name of its unit, which is empty where the agent is a plain daemon.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time


def answer(path, timeout):
    """Return the first line of what the agent says to C(GET /healthz)."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: tricorn\r\nConnection: close\r\n\r\n")
        return connection.recv(4096).decode("ascii", "replace").partition("\r\n")[0]
    finally:
        connection.close()


def runs_from(release, root):
    """Tell whether the process that holds the root directory is of the release."""
    with open(os.path.join(root, "lock"), encoding="ascii") as lock:
        pid = int(lock.read())
    with open("/proc/%d/cmdline" % pid, encoding="utf-8") as file:
        return file.read().startswith(os.path.realpath(release) + "/")


def look(release, root, path, timeout):
    """Return what keeps the agent from being healthy, empty if nothing does."""
    try:
        line = answer(path, timeout)
        if " 200 " not in line:
            return "it answered %r" % line
        return "" if runs_from(release, root) else "an agent of another release runs"
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__


def ended(unit, restarts):
    """Return how the unit's process has ended since, empty if it hasn't."""
    command = ["systemctl", "show", unit, "--property=ActiveState,SubState,NRestarts,Result,ExecMainStatus"]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()
    found = dict(line.split("=", 1) for line in output.splitlines())
    if restarts is None:
        return "", found["NRestarts"]
    if found["ActiveState"] == "failed" or found["SubState"] == "auto-restart":
        return "it ended with status %(ExecMainStatus)s (%(Result)s)" % found, restarts
    return "it ended, and was started again" if found["NRestarts"] != restarts else "", restarts


def main(release, root, path, seconds, unit=""):
    deadline, restarts = time.monotonic() + float(seconds), None
    while True:
        left = deadline - time.monotonic()
        why = look(release, root, path, max(0.1, min(left, 5)))
        if not why:
            return ""
        if unit:
            end, restarts = ended(unit, restarts)
            if end:
                return end
        if left <= 0:
            return "it wasn't ready within %s seconds: %s" % (seconds, why)
        time.sleep(0.1)


reason = main(*sys.argv[1:])
print(reason or "ready")
sys.exit(1 if reason else 0)
