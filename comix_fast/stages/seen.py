"""What a recipe's head sees of a cache: clips or statistics of them, on its device, and how they are standardised."""

from __future__ import annotations

from dataclasses import replace

import torch

from comix_fast.config import AdaptRecipe
from comix_fast.console import Reporter, Silent
from comix_fast.errors import CacheError
from comix_fast.memory import available_memory
from comix_fast.stages.bank import Banks, FeatureBank, Standardise, feature_norms, gigabytes, pooled_size
from comix_fast.stages.pooling import parse_statistics, pooled_bank, pooled_bytes

Norms = tuple[Standardise, Standardise]


class Seen:
    """Banks and norms for many recipes on one cache, each made once."""

    def __init__(self, banks: Banks, device: torch.device | None = None, reporter: Reporter | None = None) -> None:
        """banks: as loaded; device: where heads train, None: where the banks are."""
        self._loaded, self._device, self._reporter = banks, device, reporter or Silent()
        self._banks: dict[tuple[str, ...], Banks] = {}
        self._norms: dict[tuple[tuple[str, ...], str], Norms] = {}

    def banks(self, recipe: AdaptRecipe) -> Banks:
        """The banks that the recipe's head takes.

        Raises ComixError for statistics that do not exist, CacheError where they would take more memory than is free.
        """
        names = parse_statistics(recipe.statistics) if recipe.pooled else ()
        if names not in self._banks:
            self._banks[names] = self._on_device(self._pooled(names) if names else self._loaded)
        return self._banks[names]

    def norms(self, recipe: AdaptRecipe) -> Norms:
        """How its source and target features are standardised."""
        banks = self.banks(recipe)
        key = (parse_statistics(recipe.statistics) if recipe.pooled else (), recipe.feature_norm)
        if key not in self._norms:
            size = pooled_size(banks.source.clips.dim) if recipe.pooled else None
            source, target = feature_norms(banks, recipe.feature_norm, size)
            self._norms[key] = source, target
        return self._norms[key]

    def _pooled(self, names: tuple[str, ...]) -> Banks:
        banks = {id(bank): bank for bank in self._loaded if isinstance(bank, FeatureBank)}.values()
        _require_room(sum(pooled_bytes(bank, names) for bank in banks))
        with self._reporter.progress("statistics over time", len(banks), "lists") as advance:

            def pooled(bank: FeatureBank) -> FeatureBank:
                made = pooled_bank(bank, names)
                advance(1)
                return made

            return self._loaded.each(pooled)

    def _on_device(self, banks: Banks) -> Banks:
        """The features on the device that trains; labels and row numbers, which draws are made of, stay on the CPU."""
        device = self._device
        if device is None or device.type == "cpu":
            return banks

        def moved(bank: FeatureBank) -> FeatureBank:
            mixed = None if bank.mixed is None else bank.mixed.to(device)
            return replace(bank, clips=bank.clips.to(device), mixed=mixed)

        return banks.each(moved)


def _require_room(n_bytes: int) -> None:
    """Before minutes are spent on rows that would then find no room. Raises CacheError."""
    room = available_memory()
    if room is not None and n_bytes > room:
        raise CacheError(
            f"statistics over time of all videos take {gigabytes(n_bytes)} of memory, and {gigabytes(room)} are free",
            hint="ask for fewer --statistics, adapt with --no-bgm, or leave the clips as they are: "
            "--head graph --memory map",
        )
