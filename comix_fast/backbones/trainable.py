"""A backbone that learns: its network in trainable form, what of it is frozen, its batch norm's statistics."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from comix_fast.backbones.backbone import Backbone, exactly, normalised
from comix_fast.backbones.network import VideoNetwork
from comix_fast.backbones.precision import Precision, Prepared, prepare
from comix_fast.backbones.registry import architecture_of
from comix_fast.backbones.state import Fitted, State, fill, fit_state, state_sha256
from comix_fast.backbones.weights import LoadedWeights, load_weights
from comix_fast.errors import WeightsError

BatchNorm = Literal["train", "frozen"]
_COUNTER = "num_batches_tracked"


class TrainableBackbone:
    """[B, 3, T, 224, 224] clips, float in [-1, 1] -> [B, feature_dim] float32 features, with gradients.

    Weights are float32; precision "bf16" computes in bfloat16 under autocast. The Kinetics classifier is left out.
    batch_norm: "train" normalises by the clips at hand and keeps running statistics (published code); "frozen" uses
    the statistics that the weights brought; scale and shift learn either way.
    train_from: the first of the network's parts that learns; those before it keep their weights and statistics.
    recomputes: maps are computed again on the way back instead of being kept.
    doubt: what speaks against the precision on this device, as load_backbone finds it; "" as a rule. warning: that, and
    what there is to say of the weights.
    """

    def __init__(
        self,
        name: str,
        weights: str | Path,
        *,
        precision: Precision = "fp32",
        device: torch.device | str = "cpu",
        batch_norm: BatchNorm = "train",
        train_from: str | None = None,
        recomputes: bool = False,
    ) -> None:
        """Raises WeightsError as load_backbone does, and for a part that the network does not have."""
        self._architecture = architecture_of(name)
        self.device, self.precision = torch.device(device), precision
        with torch.device("meta"):
            network = self._architecture.build()
        loaded = load_weights(network, self._architecture, weights)
        fill(network, Fitted(_without_classifier(network, loaded.fitted.state), has_classifier=False))
        self.network: VideoNetwork = network.to(self.device).to(memory_format=torch.channels_last_3d)
        self.network.recomputes = recomputes
        self.name, self.feature_dim = name, self._architecture.feature_dim
        self.weights_name, self.weights_sha256 = loaded.name, loaded.sha256
        names = list(network.part_names())
        if train_from is not None and train_from not in names:
            raise WeightsError(
                f"{name} has no part named {train_from!r} to train from",
                hint=f"its parts are, in order: {', '.join(names)}",
            )
        self._first = 0 if train_from is None else names.index(train_from)
        self._frozen_parts = self._folded() if self._first else None
        self.doubt = self._checked()
        self.warning = "; ".join(sentence for sentence in (loaded.warning, self.doubt) if sentence)
        self._require_learning(names[self._first :], batch_norm)
        norms = [module for module in self.network.modules() if isinstance(module, _BatchNorm)]
        self.statistics = RunningStatistics([module for module in norms if module.training])

    def _require_learning(self, names: Sequence[str], batch_norm: BatchNorm) -> None:
        """Lets these parts learn and no other."""
        learning = [self.network] if self._first == 0 else [self.network.get_submodule(name) for name in names]
        self.network.eval().requires_grad_(False)
        for module in learning:
            module.train().requires_grad_(True)
        if batch_norm == "frozen":
            for module in self.network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def before(self, clips: Tensor) -> Tensor:
        """What the parts that learn take of clips: maps of the last frozen part, or the clips as the network does.

        Without a gradient. The frozen parts run in their form for inference, a third of the time.
        """
        with torch.no_grad(), exactly(self.device):
            clips = normalised(clips.float(), self._architecture)
            if self._frozen_parts is None:
                return clips
            return self._frozen_parts.through(clips, until=self._first)

    def after(self, maps: Tensor) -> Tensor:
        """What `before` gave -> [B, feature_dim] float32 features, with gradients where they are asked for."""
        with exactly(self.device), torch.autocast(self.device.type, torch.bfloat16, self.precision == "bf16"):
            return self.network.pooled(self.network.through(maps, since=self._first))

    def __call__(self, clips: Tensor) -> Tensor:
        """See the class."""
        return self.after(self.before(clips))

    @property
    def has_frozen_parts(self) -> bool:
        """Whether `before` computes anything, so that its result is worth keeping for a second pass."""
        return self._frozen_parts is not None

    def trained(self) -> dict[str, nn.Parameter]:
        """What learns, by name."""
        return {name: value for name, value in self.network.named_parameters() if value.requires_grad}

    def state(self) -> State:
        """Its weights and statistics under their published names, as load_backbone takes them from a file."""
        return {name: value for name, value in self.network.state_dict().items() if not name.endswith(_COUNTER)}

    def load(self, state: Mapping[str, Tensor], source: str) -> None:
        """Takes weights and statistics. Raises WeightsError, naming `source`, if they are of another network."""
        fitted = fit_state(self.network, state, source)
        self.network.load_state_dict(fitted.state, strict=False)
        if self._frozen_parts is not None:
            self._frozen_parts = self._folded()

    def frozen(self) -> Backbone:
        """A copy for inference as it is now, in the same precision: what load_backbone gives for its state."""
        loaded = LoadedWeights(Fitted({}, has_classifier=False), "trained", state_sha256(self.state()), "")
        return Backbone(self._architecture, loaded, Prepared(self._folded(), self.precision, self.doubt))

    def _checked(self) -> str:
        """What there is to say against the precision on this device, "" as a rule; of the first weights, once."""
        with exactly(self.device):
            return prepare(self._copied(), self.precision, self.device, self._architecture.input_size).note

    def _folded(self) -> VideoNetwork:
        """A copy in the form for inference, as backbones.precision.prepare makes it."""
        network = self._copied()
        network.fold()
        network = network.to(memory_format=torch.channels_last_3d)
        if self.precision == "bf16":
            network.to_bf16()
        return network

    def _copied(self) -> VideoNetwork:
        network = copy.deepcopy(self.network).eval().requires_grad_(False)
        network.recomputes = False
        return network


def _without_classifier(network: VideoNetwork, state: Mapping[str, Tensor]) -> State:
    return {name: value for name, value in state.items() if not name.startswith(f"{network.classifier_name}.")}


class RunningStatistics:
    """Running means and variances of batch norms, updated once an iteration, whatever the parts it is computed in.

    A network sees an iteration's clips in parts, perhaps twice (see comix_fast.training.learning), perhaps on several
    machines. Each part counts once and alike, and the running value moves as if the network had seen `n_streams` whole
    batches whose statistics are the parts' mean.
    """

    def __init__(self, modules: Sequence[_BatchNorm]) -> None:
        self._modules = modules
        self._momenta = [0.1 if module.momentum is None else module.momentum for module in modules]
        self._before: list[Tensor] = []
        self._n_parts = 0

    def begin(self) -> None:
        """Before an iteration's first part."""
        self._before = [value.clone() for value in self._values()]
        self._n_parts = 0
        for module in self._modules:
            module.reset_running_stats()

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """The one part that is computed inside counts."""
        self._n_parts += 1
        # The running mean of the parts so far. Torch's own, momentum None, would ask a GPU how many there were.
        with self._momentum([1 / self._n_parts] * len(self._modules)):
            yield

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Parts computed inside do not."""
        with self._momentum([0.0] * len(self._modules)):
            yield

    @torch.no_grad()
    def end(self, n_streams: int, average: Callable[[Tensor], Tensor]) -> None:
        """After its last part. average: the mean of a tensor over machines."""
        if not self._modules:
            return
        values = self._values()
        means = torch.split(average(torch.cat(values)), [len(value) for value in values])
        momenta = [momentum for momentum in self._momenta for _ in range(2)]
        for value, mean, before, momentum in zip(values, means, self._before, momenta, strict=True):
            value.copy_(before.lerp(mean, 1 - (1 - momentum) ** n_streams))

    def _values(self) -> list[Tensor]:
        found = [value for module in self._modules for value in (module.running_mean, module.running_var)]
        return [value for value in found if value is not None]

    @contextlib.contextmanager
    def _momentum(self, momenta: Sequence[float]) -> Iterator[None]:
        before: list[float | None] = [module.momentum for module in self._modules]
        try:
            for module, chosen in zip(self._modules, momenta, strict=True):
                module.momentum = chosen
            yield
        finally:
            for module, momentum in zip(self._modules, before, strict=True):
                module.momentum = momentum
