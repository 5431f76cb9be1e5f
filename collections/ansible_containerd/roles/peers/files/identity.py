# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node's certificate: looks at it, asks for one, puts it in place. The key is made here and stays here.

usage: identity.py look DIRECTORY NAMES DAYS < ca.crt
         prints {"reason", "request"}: why a new certificate is needed ("" if none is), and the request for it
       identity.py check DIRECTORY NAMES DAYS < ca.crt
         the same without a request: writes nothing
       identity.py put DIRECTORY < {"ca", "certificate"}
         writes what isn't empty
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

DAY = 86400


def openssl(*words):
    """Return whether openssl says yes, and what it prints."""
    done = subprocess.run(["openssl", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout


def write(path, text, mode):
    """Write a file in one step."""
    new = path.with_name("." + path.name)
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        os.fsync(file.fileno())
    new.rename(path)


def reason(directory, names, days, authority):
    """Return what is wrong with the certificate that is there."""
    certificate, key = str(directory / "node.crt"), str(directory / "node.key")
    if not authority:
        return "there is no authority yet"
    if not os.path.exists(certificate) or not os.path.exists(key):
        return "there is none"
    if not issued(certificate, authority):
        return "another authority issued it"
    if not openssl("x509", "-in", certificate, "-noout", "-checkend", str(int(days) * DAY))[0]:
        return "it ends soon"
    if openssl("x509", "-in", certificate, "-noout", "-pubkey")[1] != openssl("pkey", "-in", key, "-pubout")[1]:
        return "it isn't for the node's key"
    if named(certificate) != sorted(map(canonical, names.split(","))):
        return "the node has other names"
    return ""


def issued(certificate, authority):
    with tempfile.NamedTemporaryFile("w", suffix=".crt") as file:
        file.write(authority)
        file.flush()
        return openssl("verify", "-no_check_time", "-CAfile", file.name, certificate)[0]


def named(certificate):
    """Return the alternative names, as DNS:… and IP:…"""
    text = openssl("x509", "-in", certificate, "-noout", "-ext", "subjectAltName")[1]
    return sorted(map(canonical, text.partition("\n")[2].replace("IP Address:", "IP:").split(",")))


def canonical(name):
    """Return a name as it compares: addresses have several spellings."""
    kind, dummy, text = name.strip().partition(":")
    return "IP:" + str(ipaddress.ip_address(text)) if kind == "IP" else (kind + ":" + text).lower()


def request(directory, names):
    """Return a request, for a key that is made if there is none."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    key = directory / "node.key"
    if not key.exists():
        made, text = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        if not made:
            sys.exit("openssl can't make a key")
        write(key, text, 0o600)
    common = names.split(",")[0].partition(":")[2][:64]
    return openssl("req", "-new", "-key", str(key), "-subj", "/CN=" + common)[1]


def main(verb, directory, *rest):
    place = Path(directory)
    if verb == "put":
        given = json.load(sys.stdin)
        for name, text in (("ca.crt", given["ca"]), ("node.crt", given["certificate"])):
            if text:
                write(place / name, text.rstrip("\n") + "\n", 0o644)
        return
    authority = sys.stdin.read()
    why = reason(place, *rest, authority)
    known = place / "ca.crt"
    if not why and (not known.exists() or known.read_text().strip() != authority.strip()):
        why = "the authority's certificate isn't there"
    print(json.dumps({"reason": why, "request": request(place, rest[0]) if why and verb == "look" else ""}))


if __name__ == "__main__":
    main(*sys.argv[1:])
