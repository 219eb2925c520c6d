"""Text that came from outside, as it may be shown: no control characters, no line breaks, nothing that reorders."""

from __future__ import annotations

import unicodedata

_FORBIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, bytes that are no text, separators of lines

_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Unicode's embeddings, overrides and isolates of direction (UAX 9): with them text reads as other than it is."""


def is_plain(text: str) -> bool:
    """Whether a text holds no control character, no line break, no byte that isn't text and no change of direction."""
    return text.isprintable() or not any(map(_is_odd, text))


def printable(text: str, longest: int | None = None) -> str:
    r"""The text with whatever is not plain written out (\x1b, \u202e), and its middle left out beyond `longest`."""
    if longest is not None and len(text) > longest:
        kept = max(longest - 1, 2) // 2
        text = f"{text[:kept]}…{text[-kept:]}"
    if is_plain(text):
        return text
    return "".join(ascii(sign)[1:-1] if _is_odd(sign) else sign for sign in text)


def _is_odd(sign: str) -> bool:
    return sign in _REORDERING or unicodedata.category(sign) in _FORBIDDEN
