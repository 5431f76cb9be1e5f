"""Elements of an HTML page or an SVG picture. Whatever is no markup already is escaped."""

from __future__ import annotations

from html import escape
from typing import Final

from tricorn.cli.output import clean

_VOID: Final = frozenset({"meta", "br", "hr"})


class Markup(str):
    """Text that is markup. Only `element` and constants of the code make it."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: object) -> Markup:
    """Return an element. Children that aren't Markup are text. `class_` is class, `aria_label` aria-label.

    Attributes that are None or False are left out, True ones have no value.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        words.append(attribute if value is True else f'{attribute}="{_text(str(value))}"')
    if name in _VOID:
        return Markup(f"<{' '.join(words)}>")
    return Markup(f"<{' '.join(words)}>{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """Return children one after another."""
    return Markup("".join(child if isinstance(child, Markup) else _text(child) for child in children))


def _text(value: str) -> str:
    return escape(clean(value), quote=True)
