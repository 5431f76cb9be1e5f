# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: progress
type: aggregate
short_description: Show how far pulls, checkpoints and other long work are
version_added: 0.1.0
author:
  - Tricorn authors (@tricorn)
description:
  - While modules of this collection pull and unpack images, push, import, checkpoint, restore, migrate or apply, their
    progress is shown as the agents report it. It goes to stderr.
  - On a terminal each host has one line below the play's output, which goes when the work is done. Elsewhere nothing is
    shown unless it is asked for; then it is a line when something new begins, and one every few seconds.
  - Shown are tasks that reach the agent over the local socket or Ansible's ssh connection without passwords. With
    C(async) and other connections they run as ever, without progress.
requirements:
  - To be enabled, as in C(callbacks_enabled = tricorn.containerd.progress) in C(ansible.cfg).
options:
  show:
    description:
      - V(auto) shows lines per host on a terminal and nothing elsewhere, V(bars) does so everywhere, V(plain) writes
        lines one after another, V(none) shows nothing.
    type: str
    choices: [auto, bars, plain, none]
    default: auto
    env:
      - name: TRICORN_PROGRESS
    ini:
      - section: callback_tricorn_progress
        key: show
  interval:
    description:
      - Seconds between two plain lines about the same work.
    type: float
    default: 5
    env:
      - name: TRICORN_PROGRESS_INTERVAL
    ini:
      - section: callback_tricorn_progress
        key: interval
"""

import json
import os
import sys
import threading
import time

from ansible.plugins.callback import CallbackBase
from ansible_collections.tricorn.containerd.plugins.plugin_utils import _progress

GOODBYE = 5  # seconds that the thread has to end


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "tricorn.containerd.progress"
    CALLBACK_NEEDS_ENABLED = True

    _thread = None
    _board = None

    def v2_playbook_on_play_start(self, play):
        if self._thread is not None:
            return
        board = _board(self.get_option("show"), self.get_option("interval"))
        if board is None:
            return
        try:
            source = _progress.open_pipe()
        except OSError:
            return  # progress is no reason to fail
        self._board = board
        self._thread = threading.Thread(target=_show, args=(source, board), name="progress", daemon=True)
        self._thread.start()

    def v2_playbook_on_stats(self, stats):
        if self._thread is None:
            return
        _progress.close_pipe()
        self._thread.join(GOODBYE)
        self._thread = None

    def _output_has_come(self, *dummy, **kwargs):
        if self._board is not None:
            self._board.clear()

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_skipped = v2_runner_on_unreachable = _output_has_come
    v2_playbook_on_task_start = v2_runner_retry = _output_has_come


def _board(show, interval):
    if show == "auto":
        show = "bars" if sys.stderr.isatty() else "none"
    return {"bars": Bars, "plain": lambda descriptor: Plain(descriptor, interval)}.get(show, lambda dummy: None)(2)


def _show(source, board):
    """Show what comes through the pipe until its end; whatever goes wrong, the play goes on."""
    try:
        with os.fdopen(source, "rb") as lines:
            for line in lines:
                if line == b"end\n":
                    break
                board.show(json.loads(line))
    except Exception:
        pass
    finally:
        board.clear()


def _write(descriptor, text):
    """Write without the locks of Python's files, which forked workers would inherit."""
    try:
        os.write(descriptor, text.encode("utf-8", "replace"))
    except OSError:
        pass


class Bars:
    """One line per host, below where the next output begins: the cursor goes back there each time."""

    def __init__(self, descriptor):
        self._descriptor = descriptor
        self._lines = {}
        self._lock = threading.Lock()
        self._shown = False

    def show(self, message):
        with self._lock:
            if message["over"]:
                self._lines.pop(message["host"], None)
            else:
                self._lines[message["host"]] = "%s  %s" % (message["host"], _progress.text(message))
            self._draw()

    def clear(self):
        """Forget what is shown: other output has come, and moved the cursor."""
        with self._lock:
            if self._shown:
                _write(self._descriptor, "\r\x1b[J")
                self._shown = False

    def _draw(self):
        if not self._lines and not self._shown:
            return
        columns, rows = self._size()
        lines = [self._lines[host][:columns - 1] for host in sorted(self._lines)][:rows - 2]
        # the row of the cursor stays free: a result that is shown there is followed by clear()
        text = "\r\x1b[J" + "".join("\n" + line for line in lines)
        if lines:
            text += "\r\x1b[%dA" % len(lines)
        _write(self._descriptor, text)
        self._shown = bool(lines)

    def _size(self):
        try:
            size = os.get_terminal_size(self._descriptor)
        except OSError:
            return 80, 24
        return size.columns or 80, max(size.lines, 4)  # a terminal may not know its size


class Plain:
    """A line when a host begins something new, and every few seconds of it."""

    def __init__(self, descriptor, interval, clock=time.monotonic):
        self._descriptor = descriptor
        self._interval = interval
        self._clock = clock
        self._told = {}

    def show(self, message):
        if message["over"]:
            self._told.pop(message["host"], None)
            return
        if message["phase"] == "started":
            return
        now, key = self._clock(), (message["what"], message["phase"])
        before, at = self._told.get(message["host"], (None, 0))
        if key != before or now - at >= self._interval:
            self._told[message["host"]] = key, now
            _write(self._descriptor, "%s  %s\n" % (message["host"], _progress.text(message)))

    def clear(self):
        """There is nothing to take back."""
