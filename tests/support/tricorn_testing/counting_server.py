"""A server of several processes for containers that are dumped and moved: whoever talks to it sees whether it is
still the same process, and the same connection.
"""

from __future__ import annotations

_SCRIPT = """
import os, socket, threading
listener = socket.create_server(({address}, 8080))
def talk(peer):
    told = 0
    while line := peer.recv(100):
        told += len(line)
        peer.sendall(b"%d %d\\n" % (os.getpid(), told))
def serve():
    while True:
        threading.Thread(target=talk, args=(listener.accept()[0],)).start()
for _ in range({workers}):
    if os.fork() == 0:
        serve()
os.wait()
"""


def counting_server(address: str, *, workers: int) -> str:
    """Return the Python program: a parent and `workers` that share a listener on port 8080 of `address` (an
    expression of Python). They answer with their pid and the bytes they were told on this connection.
    """
    return _SCRIPT.format(address=address, workers=workers)
