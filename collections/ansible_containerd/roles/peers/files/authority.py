# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The small certificate authority of a fleet, on the controller: makes itself, and signs what nodes ask for.

usage: authority.py look DIRECTORY           prints ca.crt, or nothing where there is no authority yet
       authority.py make DIRECTORY           makes it if there is none, and prints it
       authority.py sign DIRECTORY DAYS NAMES < REQUEST
                                             prints a certificate for NAMES (DNS:…,IP:…), whatever the request
                                             says of names: a node can't get another's
"""

from __future__ import annotations

import fcntl
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

LIFETIME = 3650  # days
CURVE = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
OF_AUTHORITY = (
    ("basicConstraints", "critical,CA:TRUE,pathlen:0"),
    ("keyUsage", "critical,keyCertSign,cRLSign"),
    ("subjectKeyIdentifier", "hash"),
)
OF_NODE = """\
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth,clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {}
"""


def openssl(*words, given=b""):
    """Return what openssl prints; ends with its complaint if it fails."""
    done = subprocess.run(["openssl", *words], input=given, capture_output=True, check=False)
    if done.returncode:
        sys.exit("openssl %s: %s" % (words[0], done.stderr.decode(errors="replace").strip()))
    return done.stdout


def make(directory):
    """Make key and certificate, unless they are there; the certificate comes last, and whole."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (directory / "ca.crt").exists():
            return
        os.umask(0o077)
        key, new = directory / "ca.key", directory / ".ca.crt"
        openssl("genpkey", *CURVE, "-out", str(key))
        extensions = [word for name, value in OF_AUTHORITY for word in ("-addext", "%s=%s" % (name, value))]
        openssl("req", "-x509", "-new", "-key", str(key), "-days", str(LIFETIME), "-subj", "/CN=Tricorn peers",
                *extensions, "-out", str(new))  # fmt: skip
        new.rename(directory / "ca.crt")


def sign(directory, days, names, request):
    with tempfile.NamedTemporaryFile("w", suffix=".ext") as extensions:
        extensions.write(OF_NODE.format(names))
        extensions.flush()
        return openssl(
            "x509", "-req", "-CA", str(directory / "ca.crt"), "-CAkey", str(directory / "ca.key"),
            "-set_serial", "0x" + secrets.token_hex(16), "-days", days, "-extfile", extensions.name, given=request,
        )  # fmt: skip


def main(verb, directory, *rest):
    place = Path(directory).expanduser()
    if verb == "make":
        make(place)
    if verb == "sign":
        sys.stdout.buffer.write(sign(place, *rest, request=sys.stdin.buffer.read()))
    elif (place / "ca.crt").exists():
        print((place / "ca.crt").read_text(), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
