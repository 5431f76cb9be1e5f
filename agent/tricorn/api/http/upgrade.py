"""A connection that has changed to the frame protocol."""

from __future__ import annotations

from collections import deque

from tricorn.api.http.inbox import Inbox
from tricorn.api.http.sending import Sender
from tricorn.api.http.wire import Wire
from tricorn.errors import TricornError
from tricorn.frames import FROM_CLIENT, PROTOCOL, Frame, FrameDecoder, FrameKind, encode_document


class FrameChannel:
    """Frames in and out of one connection. One task may receive while another one sends."""

    def __init__(self, wire: Wire, inbox: Inbox, sender: Sender) -> None:
        self._wire = wire
        self._inbox = inbox
        self._sender = sender
        self._decoder = FrameDecoder(FROM_CLIENT)
        self._frames: deque[Frame] = deque()
        self.accepted = False

    async def accept(self) -> None:
        """Send the 101. The client may have sent its first frames already."""
        answer = self._wire.switch(PROTOCOL)
        self.accepted = True
        self._sender.farewell = _error_frame
        await self._sender.send(answer)
        self._frames.extend(self._decoder.feed(self._wire.trailing))

    async def receive(self) -> Frame | None:
        """Return the next frame, None at the end. Raises InvalidArgument, ResourceExhausted, Unavailable."""
        while not self._frames:
            data = await self._inbox.take()
            if not data:
                self._decoder.close()
                return None
            self._frames.extend(self._decoder.feed(data))
        return self._frames.popleft()

    async def send(self, data: bytes) -> None:
        """Send encoded frames."""
        await self._sender.send(data)

    async def fail(self, error: TricornError) -> None:
        """Send the error as the last frame."""
        await self._sender.send(_error_frame(error))


def _error_frame(error: TricornError) -> bytes:
    return encode_document(FrameKind.ERROR, error.problem())
