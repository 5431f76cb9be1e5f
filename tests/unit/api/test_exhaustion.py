"""What the agent answers when its machine has no more room, files or memory."""

from __future__ import annotations

import errno
import os

import pytest
from structlog.testing import capture_logs

from tricorn_testing.api import Server


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EDQUOT])
async def test_a_machine_that_has_no_more_of_something_is_no_mistake(server: Server, number: int) -> None:
    server.world.failures["tasks.start"] = OSError(number, os.strerror(number))
    with capture_logs() as lines:
        answer = await server.request("POST", "/v1/default/containers/web/start")
    assert answer.json()["code"] == "ResourceExhausted"
    assert answer.json()["why"] == os.strerror(number)
    assert answer.json()["hint"]
    assert not any(line.get("exc_info") for line in lines)
