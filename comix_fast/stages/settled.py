"""A backbone's precision, settled in another process: a video that ends whoever decodes it must not end the command."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comix_fast.backbones import Backbone, load_backbone
from comix_fast.datasets import Video
from comix_fast.errors import ComixError
from comix_fast.stages.block_worker import error_from_json, video_from_json, video_to_json
from comix_fast.stages.pipeline_first import first_clips
from comix_fast.stages.worker_child import COMMAND, Child, heard
from comix_fast.video import Decoder, Limits, choose_decoder

MOST_LOOKED_AT = 100
"""Videos among which one must be readable for a backbone's precision to be checked on it."""


@dataclass(frozen=True)
class Settled:
    """What there is to know of a backbone that others load: as Backbone's attributes of these names."""

    name: str
    weights_name: str
    precision: str
    precision_note: str
    warning: str
    compiled: bool
    recorded: Mapping[str, Any]

    @classmethod
    def of(cls, backbone: Backbone) -> Settled:
        """Of one that is loaded."""
        plain = {field.name: getattr(backbone, field.name) for field in dataclasses.fields(cls)[:-1]}
        return cls(**plain, recorded=backbone.recipe())

    def recipe(self) -> dict[str, Any]:
        """As Backbone.recipe."""
        return dict(self.recorded)


def settle_apart(
    backbone: str,
    weights: str,
    precision: str,
    device: str,
    compiled: bool,
    decoder: Decoder,
    videos: Iterable[Video],
    threads: int,
    command: Sequence[str] = COMMAND,
) -> Settled:
    """Loads a backbone in a process of its own, and tells of it. The arguments are those of load_backbone.

    Precision is checked on the first clips of the first video that can be read, of a hundred; one that ends the
    process is passed over, and left to the extract to list. threads: CPU threads of the process.
    Raises what load_backbone raises, and ComixError if the process ends for another reason.
    """
    order = {
        "backbone": backbone,
        "weights": weights,
        "precision": precision,
        "device": device,
        "compiled": compiled,
        "decoder": decoder.name,
        "limits": dataclasses.asdict(decoder.limits),
    }
    left = [] if precision == "fp32" else list(itertools.islice(videos, MOST_LOOKED_AT))
    while True:
        answer, looking = _ask({**order, "videos": [video_to_json(video) for video in left]}, threads, command)
        if isinstance(answer, Settled):
            return answer
        if looking is None:
            raise ComixError(
                f"the process that loads the backbone has ended: {answer}",
                hint="it may lack memory; --precision fp32 and --no-compile need less of it",
            )
        del left[: looking + 1]


def _ask(order: Mapping[str, Any], threads: int, command: Sequence[str]) -> tuple[Settled | str, int | None]:
    """What was settled, or how the process ended; and the place of the video that it was looking at then."""
    looking, fell = None, ""
    with Child(command, threads) as child:
        child.tell({"settle": order})
        while True:
            for _, answers, last in heard([child]):
                for answer in answers:
                    if "error" in answer:
                        raise error_from_json(answer["error"])
                    if "settled" in answer:
                        return Settled(**answer["settled"]), None
                    looking = answer.get("looking", looking)
                    fell = answer.get("fell", fell)
                if last:
                    return fell or child.ending(), looking


def settle_here(order: Mapping[str, Any], looking: Callable[[int | None], None]) -> Settled:
    """The other side of settle_apart. looking: called with the place of each video before it is opened, None after."""
    decoder = choose_decoder(order["decoder"]).limited(Limits(**order["limits"]))

    def watched() -> Iterator[Video]:
        for number, video in enumerate(order["videos"]):
            looking(number)
            yield video_from_json(video)

    clips = first_clips(watched(), decoder)
    looking(None)
    return Settled.of(
        load_backbone(
            order["backbone"],
            order["weights"],
            order["precision"],
            order["device"],
            check=clips,
            compiled=order["compiled"],
        )
    )
