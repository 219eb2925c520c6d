"""The lists of a cache: which videos, with which labels, are trained on and tested on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from comix_fast.cache.shapes import check_dataset
from comix_fast.errors import CacheError

DOMAINS = ("source", "target")
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Lists:
    """What dataset.json says.

    names: of the domains, {"source": …, "target": …}. listed: by domain and split, (id, class index or None) in order;
    a domain without a test list of its own has none there.
    """

    classes: tuple[str, ...]
    names: Mapping[str, str]
    notes: tuple[str, ...]
    listed: Mapping[tuple[str, str], tuple[tuple[str, int | None], ...]]

    @classmethod
    def of(cls, value: Mapping[str, Any], where: str) -> Lists:
        """From the JSON. Raises CacheError if it lacks something or is of another shape."""
        check_dataset(value, where)
        found = cls(
            tuple(value["classes"]),
            {domain: value[domain]["name"] for domain in DOMAINS},
            tuple(value.get("notes", ())),
            {
                (domain, split): tuple((video, label) for video, label in value[domain][split])
                for domain in DOMAINS
                for split in SPLITS
                if value[domain].get(split) is not None
            },
        )
        names = (*found.classes, *found.names.values(), *found.notes)
        require_text((*names, *(video for listed in found.listed.values() for video, _ in listed)), where)
        return found

    def of_domain(self, domain: str) -> tuple[tuple[str, int | None], ...]:
        """A domain's videos, each once: those to train on, then those that are only tested on."""
        every = (*self.listed[domain, "train"], *self.listed.get((domain, "test"), ()))
        once: dict[str, int | None] = {}
        for video, label in every:
            once.setdefault(video, label)
        return tuple(once.items())


def require_text(texts: Iterable[str], where: str) -> None:
    """Raises CacheError if a text has characters that UTF-8 can't write: JSON may name halves of a character."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise CacheError(f"{where} holds text that is not Unicode: {error.reason}", hint="it was edited") from error
