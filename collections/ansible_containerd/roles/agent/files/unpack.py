# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unpacks a bundle on the node, whole or not at all: a release is there under its name once it is complete.

The arguments are the bundle, and the directory of the release.
"""

from __future__ import annotations

import compileall
import os
import pathlib
import re
import shutil
import subprocess
import sys

NEVER_COMPILED = re.compile("pygments/(lexers|styles)/")


def unpack(bundle, directory):
    """Let tar(1) do it: it takes a third of the time that Python does, or a module that compares each file first."""
    os.mkdir(directory)
    os.chmod(directory, 0o755)
    command = ["tar", "--extract", "--gzip", "--no-same-owner", "--file", bundle, "--directory", directory]
    subprocess.run(command, check=True)


def compile_modules(directory, release):
    """Compile what the controller hasn't, because its Python is another one."""
    if not list(pathlib.Path(directory).glob("lib/*/site-packages/tricorn/__pycache__")):
        compileall.compile_dir(
            os.path.join(directory, "lib"), quiet=1, workers=0, rx=NEVER_COMPILED, stripdir=directory, prependdir=release
        )


def main(bundle, release):
    parent, name = os.path.split(release)
    os.makedirs(parent, 0o755, exist_ok=True)
    directory = os.path.join(parent, ".%s.new" % name)
    shutil.rmtree(directory, ignore_errors=True)  # of one that was interrupted
    try:
        unpack(bundle, directory)
        compile_modules(directory, release)
        pathlib.Path(directory, "complete").touch()
        shutil.rmtree(release, ignore_errors=True)  # that isn't complete, or this wouldn't have been asked for
        os.rename(directory, release)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


main(*sys.argv[1:])
