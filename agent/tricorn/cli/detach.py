"""The keys that leave a container's terminal without stopping it: a pure state machine."""

from __future__ import annotations

from typing import Final

from tricorn.errors import InvalidArgument

DEFAULT: Final = "ctrl-p,ctrl-q"
_CONTROL: Final = {**{chr(97 + index): index + 1 for index in range(26)}, "@": 0, "[": 27, "\\": 28, "]": 29}
_CONTROL.update({"^": 30, "_": 31})


def parse(text: str) -> bytes:
    r"""Return the bytes of a sequence like `ctrl-p,ctrl-q` or `a,b`; empty turns detaching off.

    Raises InvalidArgument for anything that is neither one character nor `ctrl-` and a letter or @[\]^_.
    """
    return b"".join(_key(name, text) for name in text.split(",")) if text else b""


def _key(name: str, text: str) -> bytes:
    if len(name) == 1 and name.isascii():
        return name.encode()
    control = name.lower().removeprefix("ctrl-")
    if name.lower().startswith("ctrl-") and control in _CONTROL:
        return bytes([_CONTROL[control]])
    raise InvalidArgument(
        f"{text!r} isn't a key sequence",
        why=f"{name!r} is neither one character nor ctrl-X",
        hint="write for example ctrl-p,ctrl-q",
        field="--detach-keys",
    )


class DetachKeys:
    """Watches what is typed. Keys that may begin the sequence are held back until they turn out not to."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._held = 0
        self.detached = False

    def feed(self, data: bytes) -> bytes:
        """Return the bytes to pass on. The complete sequence sets `detached` and drops the rest."""
        if not self._sequence:
            return data
        passed = bytearray()
        for byte in data:
            passed += self._step(byte)
            if self.detached:
                break
        return bytes(passed)

    def flush(self) -> bytes:
        """Return what is held back: the input ended."""
        held, self._held = self._sequence[: self._held], 0
        return held

    def _step(self, byte: int) -> bytes:
        """Take one byte; return what can't belong to the sequence any more."""
        typed = self._sequence[: self._held] + bytes([byte])
        self._held = next(
            length
            for length in range(min(len(typed), len(self._sequence)), -1, -1)
            if typed.endswith(self._sequence[:length])
        )
        self.detached = self._held == len(self._sequence)
        return typed[: len(typed) - self._held]
