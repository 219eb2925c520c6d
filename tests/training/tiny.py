"""A video network of three small convolutions, small films to train it on, and a run that ends in a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from comix_fast.backbones import Backbone, backbone, load_backbone, registry
from comix_fast.backbones.folding import fold_sequences
from comix_fast.backbones.network import VideoNetwork
from comix_fast.backbones.registry import Architecture
from comix_fast.backbones.trainable import TrainableBackbone
from comix_fast.config import AdaptRecipe
from comix_fast.console import Reporter, Silent
from comix_fast.datasets import Dataset, check_files, load_folders
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.stopping import Stop
from comix_fast.training.processes import Processes
from comix_fast.training.recipe import VideoRecipe
from comix_fast.training.train import Engine, Start, run
from comix_fast.video import choose_decoder

NAME, DIM = "tiny", 12
CLIP_SIZE, INPUT_SIZE = 32, 16
"""Clips are far smaller than the 224 pixels of real ones, which take most of the time of decoding."""
PARTS = ("stem", "middle", "top")
LENGTHS: Mapping[str, Sequence[int]] = {"source": (72, 90, 76, 80, 74, 84), "target": (81, 72, 88, 77, 73, 79)}
"""Frames of the films of each domain, by turns of class "go" and of class "stop"."""
RECIPE = AdaptRecipe(
    warmstart_iterations=4, iterations=4, eval_every=2, batch_size=2, hidden_dim=8, lambda_tpl=0.1,
    pseudo_threshold=0.4, feature_norm="domain", precision="fp32",
)  # fmt: skip


class TinyNetwork(VideoNetwork):
    """[B, 3, T, 16, 16] -> [B, 12]."""

    classifier_name = "fc"

    def __init__(self) -> None:
        super().__init__()
        self.stem = _unit(3, 6, stride=2)
        self.middle = _unit(6, 8, stride=2)
        self.top = _unit(8, DIM, stride=1)
        self.fc = nn.Linear(DIM, 5)

    def part_names(self) -> Sequence[str]:
        """Its children."""
        return PARTS

    def part(self, name: str, x: Tensor) -> Tensor:
        """See VideoNetwork."""
        module = self.get_submodule(name)
        out: Tensor = module(x.to(next(module.parameters()).dtype))
        return out

    def classify(self, features: Tensor) -> Tensor:
        """[B, 12] -> [B, 5]."""
        logits: Tensor = self.fc(features)
        return logits

    def fold(self) -> None:
        fold_sequences(self)


def _unit(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    conv = nn.Conv3d(n_in, n_out, 3, (1, stride, stride), padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(n_out), nn.ReLU())


TINY = Architecture(
    name=NAME, feature_dim=DIM, n_classes=5, input_size=INPUT_SIZE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3),
    build=TinyNetwork,
)  # fmt: skip


def register(put: Callable[[object, str, object], None] = setattr) -> str:
    """Makes "tiny" a backbone and clips of 32 pixels those that backbones take; a fixture gives monkeypatch.setattr."""
    put(registry, "BACKBONES", {**registry.BACKBONES, NAME: TINY})
    put(backbone, "CLIP_SIZE", CLIP_SIZE)
    return NAME


def picture(number: int, seed: int, size: tuple[int, int] = (32, 40)) -> np.ndarray:
    """Frame `number`: a bright square on its way over a dim ground."""
    ground = np.random.default_rng(seed).integers(0, 120, (*size, 3), dtype=np.uint8)
    row, column = (number * (seed + 1)) % (size[0] - 8), (number * 2) % (size[1] - 8)
    ground[row : row + 8, column : column + 8] = 250
    return ground


def draw_folder(folder: Path, n_frames: int, seed: int) -> None:
    """A video as a folder of frames."""
    folder.mkdir(parents=True)
    for number in range(n_frames):
        Image.fromarray(picture(number, seed)).save(folder / f"frame_{number + 1:03}.png", compress_level=1)


def draw_film(path: Path, n_frames: int, seed: int) -> None:
    """A video as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = 32, 40, "yuv420p", 1_000_000
        for number in range(n_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number, seed), format="rgb24")))
        container.mux(stream.encode())


def draw_footage(root: Path) -> Path:
    """Two domains of two classes, three videos each: the source in folders of frames, the target in files."""
    for number, n_frames in enumerate(LENGTHS["source"]):
        draw_folder(root / "source" / ("go", "stop")[number % 2] / f"scene {number}", n_frames, 3 + number)
    for number, n_frames in enumerate(LENGTHS["target"]):
        draw_film(root / "target" / ("go", "stop")[number % 2] / f"film {number}.mp4", n_frames, 23 + number)
    return root


def footage_of(root: Path) -> Dataset:
    """The dataset of what draw_footage drew."""
    return check_files(load_folders(root / "source", root / "target"))


def trainable(**options: Any) -> TrainableBackbone:
    """The tiny backbone with its random weights, and with statistics that aren't those of no data at all."""
    network = TrainableBackbone(NAME, "random", **options)
    generator = torch.Generator().manual_seed(1)
    state = {name: value.clone() for name, value in network.state().items()}
    for name, value in state.items():
        if value.ndim == 1:
            value.copy_(torch.rand(value.shape, generator=generator) + (0.0 if name.endswith("mean") else 0.5))
    network.load(state, "made up")
    return network


def video_recipe(network: Backbone | TrainableBackbone, **changes: Any) -> VideoRecipe:
    """Four clips a video, frozen where the network is."""
    decoder = choose_decoder("pyav")
    fields = {
        "backbone": {"name": network.name, "weights": network.weights_name, "sha256": network.weights_sha256},
        "decoder": {"name": decoder.name, "version": decoder.version},
        "lr": 0.01,
        "freeze": isinstance(network, Backbone),
        "bins": 4,
        "size": CLIP_SIZE,
    }
    return VideoRecipe(**(fields | changes))


def train_small(
    root: Path,
    dataset: Dataset,
    recipe: AdaptRecipe = RECIPE,
    video: Mapping[str, Any] | None = None,
    *,
    recomputes: bool = False,
    reporter: Reporter | None = None,
    start: Start | None = None,
    stop: Stop | None = None,
    processes: Processes | None = None,
    asked: Mapping[str, Any] | None = None,
    **engine: Any,
) -> RunFolder:
    """A whole run of the tiny backbone, which must be registered. video: changed fields of the VideoRecipe.

    engine: changed fields of the Engine.
    """
    changes = dict(video or {})
    network: Backbone | TrainableBackbone
    if changes.get("freeze"):
        network = load_backbone(NAME, "random")
    else:
        options = {name: changes[name] for name in ("batch_norm", "train_from", "precision") if name in changes}
        network = TrainableBackbone(NAME, "random", recomputes=recomputes, **options)
    machine = Engine(choose_decoder("pyav"), torch.device("cpu"), 1, processes or Processes())
    return run(
        recipe,
        video_recipe(network, **changes),
        dataset,
        root,
        network,
        replace(machine, **engine),
        reporter=reporter or Silent(),
        start=start,
        stop=stop,
        asked=asked,
    )
