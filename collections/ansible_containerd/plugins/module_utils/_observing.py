# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules of logs and events say to the agent."""

from __future__ import annotations

import time

from ansible_collections.tricorn.containerd.plugins.module_utils import _desired
from ansible_collections.tricorn.containerd.plugins.module_utils._client import request


def container_logs(options, check_mode):
    query = [(key, options[key]) for key in ("since", "until") if options[key] is not None]
    if options["tail"] > 0:
        query.append(("tail", options["tail"]))
    (response,) = yield [request("GET", options["namespace"], "containers", options["container"], "logs", query=query)]
    lines = response.result()["items"]
    result = {"changed": False, "lines": lines}
    for stream in ("stdout", "stderr"):
        result[stream + "_lines"] = [line["text"] for line in lines if line["stream"] == stream]
        result[stream] = "\n".join(result[stream + "_lines"])
    return result


def event_info(options, check_mode):
    """Filters count after the agent's limit of a page: ask on until a page is the last one."""
    cursor, events, lost = options["since"], [], 0
    while True:
        (response,) = yield [_events(options, cursor, limit=options["limit"] - len(events))]
        page = response.result()
        events, lost = events + page["items"], lost + page["lost"]
        if not options["filters"] or page["cursor"] == cursor or len(events) >= options["limit"]:
            return _found(events, page["cursor"], lost)
        cursor = page["cursor"]


def event_wait(options, check_mode):
    """Ask again from where the last answer ended until there is enough: no event falls between two answers."""
    cursor, events, lost = options["since"], [], 0
    deadline = time.monotonic() + options["wait_timeout"]
    while True:
        left = max(0.0, deadline - time.monotonic())
        wait = min(left, options["timeout"] or left)
        (response,) = yield [_events(options, cursor, wait="%.3f" % wait)]
        page = response.result()
        events, cursor, lost = events + page["items"], page["cursor"], lost + page["lost"]
        if len(events) >= options["count"] or deadline <= time.monotonic():
            return _waited(options, events, cursor, lost)


def _events(options, since, **query):
    place = ("events",) if options["namespace"] is None else (options["namespace"], "events")
    pairs = list(_desired.given(dict(query, since=since)).items())
    return request("GET", *place, query=pairs + [("filter", text) for text in options["filters"] or ()])


def _found(events, cursor, lost):
    result = {"changed": False, "events": events, "cursor": cursor, "lost": lost}
    if lost:
        result["warnings"] = ["%d events were gone before they could be looked at" % lost]
    return result


def _waited(options, events, cursor, lost):
    result = _found(events, cursor, lost)
    if len(events) < options["count"]:
        text = "%d of %d events came within %g seconds"
        result.update(failed=True, msg=text % (len(events), options["count"], options["wait_timeout"]))
    return result


OBSERVING_CONVERSATIONS = {
    "container_logs": container_logs,
    "event_info": event_info,
    "event_wait": event_wait,
}
