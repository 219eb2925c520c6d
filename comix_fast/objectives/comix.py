"""CoMix's objective and the source's own: the loss functions of comix_fast.losses on a drawn batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from comix_fast.errors import ShapeError
from comix_fast.heads import Head
from comix_fast.losses import classification_loss, comix_loss
from comix_fast.losses.contrastive import Number
from comix_fast.objectives.objective import Batch, Objective, Terms
from comix_fast.objectives.teacher import Teacher

_OF_COMIX = ("lambda_bgm", "lambda_tpl", "pseudo_threshold", "temperature", "label_smoothing")


class SourceOnly(Objective):
    """Cross-entropy of the labelled source: the warm-start, and the supervised bound."""

    def alike(self, n_heads: int | None) -> Self:
        return type(self)(n_heads)

    def forward(self, head: Head, batch: Batch) -> Terms:
        logits = head(batch.source, batch.dropped("", batch.source.shape[-3]))
        cls = classification_loss(logits, batch.labels, batch.numbers["label_smoothing"])
        return {"cls": cls, "total": cls}


class Comix(Objective):
    """CoMix (eq. 1–5), and λ_teacher times what a teacher says of the target's videos; terms of weight 0 are left out.

    bgm, tpl: whether any head has that term; mixed: whether the contrast has background-mixed views.
    """

    def __init__(
        self, bgm: bool, tpl: bool, mixed: bool, teacher: Teacher | None = None, n_heads: int | None = None
    ) -> None:
        super().__init__(n_heads)
        self._bgm, self._tpl, self._mixed = bgm, tpl, mixed
        self.teacher = teacher

    def alike(self, n_heads: int | None) -> Self:
        teacher = None if self.teacher is None else self.teacher.alike(n_heads)
        return type(self)(self._bgm, self._tpl, self._mixed, teacher, n_heads)

    @property
    def kind(self) -> object:
        return type(self), self._bgm, self._tpl, self._mixed, self.teacher is None

    def forward(self, head: Head, batch: Batch) -> Terms:
        source, target = batch.both
        if batch.slow is None:
            raise ShapeError("CoMix needs the clips of a slow view")
        with_mixes = self._bgm and self._mixed
        source_mixed, target_mixed = (batch.source_mixed, batch.target_mixed) if with_mixes else (None, None)
        n_videos = 2 * (source.shape[-3] + target.shape[-3]) * (2 if with_mixes else 1)
        found = comix_loss(
            head,
            source,
            target,
            source_mixed,
            target_mixed,
            batch.labels,
            batch.slow,
            **self._numbers(batch.numbers),
            dropped=batch.dropped("", n_videos),
        )
        terms = {"cls": found.cls, "bgm": found.bgm, "tpl": found.tpl}
        total = found.total
        if found.pseudo is not None:
            terms["confident"] = found.pseudo.confident.to(total.dtype).mean(dim=-1)
        if self.teacher is not None:
            terms["teacher"] = self.teacher.loss(head, batch)
            total = total + batch.numbers["lambda_teacher"] * terms["teacher"]
        return {**terms, "total": total}

    def after_step(self, head: Head, batch: Batch) -> None:
        if self.teacher is not None:
            self.teacher.follow(head, batch)

    def _numbers(self, numbers: Mapping[str, Number]) -> dict[str, Number]:
        chosen = {name: numbers[name] for name in _OF_COMIX}
        without = {"lambda_bgm": self._bgm, "lambda_tpl": self._tpl}
        return chosen | {name: 0.0 for name, there in without.items() if not there}
