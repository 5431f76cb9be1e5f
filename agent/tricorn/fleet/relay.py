"""What runs on a node while it is looked at: a dozen lines of Python between ssh and the agent's socket."""

from __future__ import annotations

from typing import Final

MARK: Final = b"tricorn-relay "
READY: Final = b"ready"

# Any Python 3, nothing but its standard library. The mark parts the agent's bytes from the words of a login.
PROGRAM: Final = """\
import os, select, socket, sys
s = socket.socket(socket.AF_UNIX)
out = sys.stdout.buffer
try:
    s.connect(sys.argv[1])
except OSError as e:
    sys.exit(print("tricorn-relay !%d" % e.errno))
out.write(b"tricorn-relay ready\\n")
out.flush()
while True:
    for end in select.select([0, s], [], [])[0]:
        data = os.read(0, 65536) if end == 0 else s.recv(65536)
        if not data:
            sys.exit()
        if end == 0:
            s.sendall(data)
        else:
            out.write(data)
            out.flush()
"""
