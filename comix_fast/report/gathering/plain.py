"""The texts of a page as they may be shown, however they came: two that differ stay two."""

from __future__ import annotations

from typing import Any

from comix_fast.printable import printable


def plain(values: Any) -> Any:
    """JSON values with every text made printable; keys, which are the page's own, are left as they are.

    Texts stand for what they name: videos, runs, classes. Where two that differ would read the same, the later one gets
    a number behind it, everywhere.
    """
    return _Plain().of(values)


class _Plain:
    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._taken: dict[str, str] = {}

    def of(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {name: self.of(below) for name, below in value.items()}
        if isinstance(value, list):
            return [self.of(below) for below in value]
        return value

    def _text(self, text: str) -> str:
        if text not in self._shown:
            wanted = shown = printable(text)
            number = 2
            while self._taken.setdefault(shown, text) != text:
                shown, number = f"{wanted} ({number})", number + 1
            self._shown[text] = shown
        return self._shown[text]
