# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tells in one JSON object what the role needs to know of a node, and what of it is not as it is wanted.

Standard input is a JSON object of what is wanted, as C(vars/main.yml) writes it. Of files it has digests, for they may
hold secrets. Whoever wants nothing may leave out all but C(prefix), C(root) and C(packages).
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import platform
import pwd
import stat
import subprocess
import sys

KINDS = {"file": stat.S_ISREG, "directory": stat.S_ISDIR}
HEALTH_SECONDS = 5  # an agent that needs longer is looked at again by the task that waits for it


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


def read(path):
    """Return a file's text, empty if it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def holder(root):
    """Return the process that holds the root directory, as its agent; empty if none ever did."""
    return read(os.path.join(root, "lock")).strip()


def running(prefix, root):
    """Return the name of the release that does run, empty if none does."""
    program = read("/proc/%s/cmdline" % (holder(root) or "none")).partition("\0")[0]
    releases = os.path.join(os.path.realpath(prefix), "releases") + "/"
    return program[len(releases):].partition("/")[0] if program.startswith(releases) else ""


# ---------------------------------------------------------------- what isn't as it is wanted
def entry_differs(kind, mode, path):
    """Tell whether something isn't root's, of this kind, with this mode."""
    try:
        found = os.lstat(path)
    except OSError:
        return True
    owned = (found.st_uid, found.st_gid) == (0, 0)
    return not (owned and KINDS[kind](found.st_mode) and stat.S_IMODE(found.st_mode) == int(mode, 8))


def file_differs(digest, mode, path):
    if entry_differs("file", mode, path):
        return True
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest() != digest


def link_differs(path, target):
    return not os.path.islink(path) or os.readlink(path) != target


def group_differs(name, users):
    """Tell whether the group is missing, or one of the users is, or isn't in it."""
    try:
        group = grp.getgrnam(name)
        found = [pwd.getpwnam(user) for user in users]
    except KeyError:
        return True
    return any(user.pw_name not in group.gr_mem and user.pw_gid != group.gr_gid for user in found)


def units_differ(units):
    """Tell whether one of the units isn't enabled and active."""
    command = ["systemctl", "show", "--property=UnitFileState,ActiveState"]
    output = subprocess.run(command + units, stdout=subprocess.PIPE, check=False).stdout.decode()
    found = [set(block.split("\n")) for block in output.strip().split("\n\n")]
    return found != [{"UnitFileState=enabled", "ActiveState=active"}] * len(units)


def criu_differs(directory, release, place):
    """Tell whether the CRIU beside the system is none, or of another release; or doesn't start, if it was made here."""
    program = os.path.join(directory, "bin", "criu")
    if read(os.path.join(directory, "release")).strip() != release or entry_differs("directory", "755", directory):
        return True
    if place != "node":
        return False
    start = subprocess.run(["sh", "-c", '"$1" --version', "sh", program], stdout=subprocess.PIPE, check=False)
    return start.returncode != 0 or "network-lock" not in read(program)  # which one of earlier versions doesn't know


def health_differs(source, release, arguments):
    """Tell whether the agent doesn't answer as it should, with the role's own check of its health."""
    root, path, seconds = arguments[:3]
    command = [sys.executable, "-I", "-c", source, release, root, path]
    command += [str(min(float(seconds), HEALTH_SECONDS)), *arguments[3:]]
    return subprocess.run(command, stdout=subprocess.PIPE, check=False).returncode != 0


def service_differs(wanted, systemd):
    """Yield what differs of the units, or of what the plain daemon has in their place."""
    if systemd:
        yield from (path for digest, mode, path in wanted["unit_files"] if file_differs(digest, mode, path))
        if units_differ(wanted["units"]):
            yield "units"
        return
    yield from (path for mode, path in wanted["plain_directories"] if entry_differs("directory", mode, path))
    if read(wanted["pid_file"]).strip() != holder(wanted["root"]):
        yield wanted["pid_file"]


def differences(wanted, release, systemd):
    """Yield the names of what isn't as it is wanted, the release apart."""
    if wanted.get("criu") and criu_differs(*wanted["criu"]):
        yield "criu"
    if "group" not in wanted:
        return
    if group_differs(wanted["group"], wanted["users"]):
        yield "group"
    yield from (path for mode, path in wanted["directories"] if entry_differs("directory", mode, path))
    yield from (path for digest, mode, path in wanted["files"] if file_differs(digest, mode, path))
    yield from (path for path in wanted["absent"] if os.path.lexists(path))
    links = {os.path.join(wanted["prefix"], "current"): os.path.join("releases", release), **wanted["links"]}
    yield from (path for path, target in links.items() if link_differs(path, target))
    yield from service_differs(wanted, systemd)
    arguments = wanted["health"][1:] + ([wanted["units"][1]] if systemd else [])
    if release and health_differs(wanted["health"][0], os.path.join(wanted["prefix"], "current"), arguments):
        yield "health"


def main(wanted):
    prefix, root = wanted["prefix"], wanted["root"]
    release, systemd = current(prefix), os.path.isdir("/run/systemd/system")  # sd_booted(3)
    return {
        "python": "%d.%d" % sys.version_info[:2],
        "recent": sys.version_info >= (3, 11),
        "interpreter": os.path.realpath(sys.executable),
        "system": platform.system(),
        "machine": platform.machine(),
        "glibc": platform.libc_ver()[1],
        "systemd": systemd,
        "missing": missing(wanted["packages"]),
        "current": release,
        "running": running(prefix, root),
        "differs": list(differences(wanted, release, systemd)),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
