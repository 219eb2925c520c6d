"""Stage one's units of work: runs of a fixed number of listed videos, which any worker can do in any order.

What a block holds hangs on the dataset's lists and the shard size alone, and its shards on nothing that another block
leaves behind but the donors' backgrounds. So neither order, nor workers, nor restarts change a byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from comix_fast.config import digest
from comix_fast.datasets import Dataset, Video


@dataclass(frozen=True)
class Block:
    """Some videos of one domain. number: its place among all blocks; training: whether they are training videos."""

    number: int
    domain: str
    training: bool
    videos: tuple[Video, ...]

    def only(self, wanted: Callable[[str], bool]) -> Block:
        """The block with those of its videos whose ids are wanted."""
        return replace(self, videos=tuple(video for video in self.videos if wanted(video.id)))


def video_groups(dataset: Dataset) -> Iterator[tuple[str, bool, list[Video]]]:
    """Each distinct video once: a domain's training videos (True), then those that are only tested on (False)."""
    for name, domain in dataset.domains():
        train = {video.id: video for video in domain.train}
        test = {video.id: video for video in domain.test or () if video.id not in train}
        yield name, True, list(train.values())
        yield name, False, list(test.values())


def blocks_of(dataset: Dataset, size: int) -> list[Block]:
    """All blocks of a dataset, `size` videos each; the last of a list may have fewer."""
    blocks: list[Block] = []
    for domain, training, videos in video_groups(dataset):
        for first in range(0, len(videos), size):
            blocks.append(Block(len(blocks), domain, training, tuple(videos[first : first + size])))
    return blocks


def lists_digest(dataset: Dataset) -> str:
    """What two extracts must agree on to share the blocks of a dataset: ids, labels, lists and classes."""
    lists = [[role, split, [[video.id, video.label] for video in videos]] for role, split, videos in dataset.lists()]
    return digest([list(dataset.classes), lists])


def only_some(blocks: Sequence[Block], wanted: Callable[[str], bool]) -> list[Block]:
    """The blocks with those of their videos whose ids are wanted; blocks without any are left out."""
    return [block for block in (block.only(wanted) for block in blocks) if block.videos]
