"""Decodes header blocks, those that came before without looking at them again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

import hpack

from tricorn import limits


class KnownBlocks(hpack.Decoder):
    """Remembers what blocks mean that only name entries of the tables, until the table changes: calls of one
    client are alike, and hpack takes longer for their headers than all else for the rest.
    """

    _INDEXED: ClassVar = re.compile(rb"[\x81-\xfe]{1,64}")  # 0xff begins a number of several bytes
    _KEPT: ClassVar = 64

    def __init__(self) -> None:
        super().__init__(max_header_list_size=limits.GRPC_HEADERS)
        self._known: dict[bytes, list[hpack.HeaderTuple]] = {}

    def decode(self, data: bytes, raw: bool = False) -> Iterable[hpack.HeaderTuple]:
        known = self._known.get(data)
        if known is not None:
            return known
        fields = list(super().decode(data, raw))
        if not self._INDEXED.fullmatch(data) or len(self._known) >= self._KEPT:
            self._known.clear()
        if self._INDEXED.fullmatch(data):
            self._known[data] = fields
        return fields
