"""Connections to an agent as another user: who a peer is, the kernel notes when it connects."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import trio

from tricorn_testing.daemon import Daemon

# Becomes that user, connects, and passes the connection on. The interpreter itself may lie where only root
# can read, so it is started as root.
_CONNECT = """
import array, os, socket, sys
number = int(sys.argv[3])
os.setgroups([])
os.setresgid(number, number, number)
os.setresuid(number, number, number)
made = socket.socket(socket.AF_UNIX)
made.connect(sys.argv[1])
out = socket.socket(fileno=int(sys.argv[2]))
out.sendmsg([b"c"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [made.fileno()]))])
"""


def let_everybody_connect(agent: Daemon) -> None:
    """Open the socket's file and its directories to all users; who may do what is left to the agent."""
    agent.directory.chmod(0o711)
    os.chmod(agent.socket_path, 0o666)


def connect_as(agent: Daemon, uid: int) -> trio.SocketStream:
    """Return a connection to the agent's socket that the user `uid` (in the group of that number) made."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        words = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            _CONNECT,
            agent.socket_path,
            str(theirs.fileno()),
            str(uid),
        ]
        subprocess.run(words, pass_fds=[theirs.fileno()], check=True, timeout=60)
        ours.settimeout(60)
        _, received, _, _ = socket.recv_fds(ours, 1, 1)
    return trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=received[0])))
