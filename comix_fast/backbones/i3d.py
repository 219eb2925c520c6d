"""Inception-I3D (Carreira & Zisserman 2017), with the parameter names of pytorch-i3d's rgb_imagenet.pt.

Two forms. Trainable: convolution, batch norm, ReLU, as published. Folded, for inference: batch norm taken into
the convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comix_fast.backbones.folding import fold_into
from comix_fast.backbones.network import VideoNetwork
from comix_fast.backbones.same import max_pool_same, same_padding

BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.01
"""Share of a batch in the running statistics, as in pytorch-i3d; nothing to inference."""

# Output channels of the six convolutions of each Inception block: b0, b1a, b1b, b2a, b2b, b3b.
_BLOCKS: dict[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}

_LARGE = ("Mixed_3b", "Mixed_3c")
_SMALL = tuple(name for name in _BLOCKS if name not in _LARGE)
_FIRST = "Conv3d_1a_7x7"

_PARTS = (2, 3)


class Unit3D(nn.Module):
    """Convolution with SAME padding, batch norm, ReLU. Folded: the batch norm is gone."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, kernel, stride, bias=False)
        self.bn: nn.BatchNorm3d | None = nn.BatchNorm3d(out_channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        if _is_product(self.conv3d) and self.bn is None:
            return _pointwise(x, self.conv3d.weight.flatten(1), self.conv3d.bias, relu=True)
        return F.relu_(self.affine(x))

    def affine(self, x: Tensor) -> Tensor:
        """All but the ReLU."""
        x = self.convolve(x)
        return x if self.bn is None else self.bn(x)

    def convolve(self, x: Tensor) -> Tensor:
        conv = self.conv3d
        if _is_product(conv):
            return _pointwise(x, conv.weight.flatten(1), conv.bias)
        before, extra = _padding(x, conv.kernel_size, conv.stride)
        if any(extra):
            x = F.pad(x, [0, extra[2], 0, extra[1], 0, extra[0]])
        weight = conv.weight
        if x.shape[2] == 1 and before[0]:
            # One frame deep (8-frame clips, last blocks): the kernel's other frames meet only padding.
            weight, before = weight.narrow(2, before[0], 1), [0, *before[1:]]
        return F.conv3d(x, weight, conv.bias, conv.stride, before)

    def fold(self) -> None:
        """Take the batch norm into the convolution, in place."""
        if self.bn is not None:
            fold_into(self.conv3d, self.bn)
            self.bn = None


class Stem(Unit3D):
    """The 7x7x7 convolution of stride 2. In bf16 it reads pixels in pairs, as 7x7x4 over twice the channels.

    The matrix units of a CPU are then half as idle (3 channels fill little of them): 2.7 times as fast there.
    Its weight keeps its shape; the paired form is made when a precision is settled, or in training each time.
    """

    def pair(self) -> None:
        """Turn the folded weight [64, 3, 7, 7, 7] into its paired form [64, 6, 7, 7, 4], in place."""
        conv = self.conv3d
        paired = _paired(conv.weight).contiguous(memory_format=torch.channels_last_3d)
        conv.weight = nn.Parameter(paired, requires_grad=False)

    def convolve(self, x: Tensor) -> Tensor:
        conv, weight, dtype = self.conv3d, self.conv3d.weight, self.conv3d.weight.dtype
        b, c, t, h, w = x.shape
        before, extra = _padding(x, conv.kernel_size, conv.stride)
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            weight, dtype = _paired(weight), torch.get_autocast_dtype("cpu")
        paired = weight.shape[1] != c
        if torch.compiler.is_exporting() and not paired:
            # A plain padding is all that other programs need; writing into a slice becomes a scatter of every pixel.
            return super().convolve(x)
        left, width = (before[2], 2 * -(-w // 2) + 6) if paired else (0, w + extra[2])
        padded = x.new_zeros((b, t + extra[0], h + extra[1], width, c), dtype=dtype)
        padded[:, :t, :h, left : left + w] = x.permute(0, 2, 3, 4, 1)
        if not paired:
            return F.conv3d(padded.permute(0, 4, 1, 2, 3), weight, conv.bias, conv.stride, before)
        pairs = padded.view(b, t + extra[0], h + extra[1], width // 2, 2 * c).permute(0, 4, 1, 2, 3)
        return F.conv3d(pairs, weight, conv.bias, (2, 2, 1), (before[0], before[1], 0))


def _paired(weight: Tensor) -> Tensor:
    """[D, C, kt, kh, 7] -> [D, 2 C, kt, kh, 4]: even and odd columns' taps apart, the last of them zero."""
    n_out, n_in, *kernel = weight.shape
    pairs = F.pad(weight, [0, 1]).view(n_out, n_in, *kernel[:2], 4, 2).permute(0, 5, 1, 2, 3, 4)
    return pairs.reshape(n_out, 2 * n_in, *kernel[:2], 4)


def _padding(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> tuple[list[int], list[int]]:
    """Per axis: SAME padding's zeros on either side, and how many more (0 or 1) after."""
    pads = [same_padding(n, k, s) for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    return [before for before, _ in pads], [after - before for before, after in pads]


def _is_product(conv: nn.Conv3d) -> bool:
    """Whether a convolution is computed as a matrix product. Exported it stays one, which other programs know best."""
    return conv.kernel_size == (1, 1, 1) and not torch.compiler.is_exporting()


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool = False) -> Tensor:
    """A 1x1x1 convolution as a matrix product. x: [B, C, T, H, W], weight: [D, C] -> [B, D, T, H, W].

    relu: whether the ReLU is taken too.
    torch's own choice of a 1x1x1 kernel changes with the number of threads, and one product over the whole batch
    may split its sums by it. In float32 there is one product per clip, so that neither changes a clip's bytes.
    """
    b, c, t, h, w = x.shape
    rows = x.permute(0, 2, 3, 4, 1).reshape(b, t * h * w, c)
    if bias is not None and _has_fused_linear(x, weight):
        out = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "relu" if relu else "none", [], "")
        relu = False
    elif bias is None or x.dtype != torch.float32:
        out = F.linear(rows, weight, bias)
    else:
        out = torch.baddbmm(bias, rows, weight.t().expand(b, -1, -1))
    out = F.relu_(out) if relu else out
    return out.view(b, t, h, w, -1).permute(0, 4, 1, 2, 3)


def _has_fused_linear(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN adds the bias and takes the ReLU inside its bfloat16 product: the same numbers as one by one.

    torch has it for its own compiler, without gradients, and does not promise it; without it all works, 5 % slower.
    """
    if x.device.type != "cpu" or x.dtype != torch.bfloat16 or torch.compiler.is_compiling():
        return False
    if x.requires_grad or weight.requires_grad or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class InceptionBlock(nn.Module):
    """Four branches over one input, their channels joined."""

    def __init__(self, in_channels: int, channels: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = channels
        self.b0 = Unit3D(in_channels, b0, 1)
        self.b1a = Unit3D(in_channels, b1a, 1)
        self.b1b = Unit3D(b1a, b1b, 3)
        self.b2a = Unit3D(in_channels, b2a, 1)
        self.b2b = Unit3D(b2a, b2b, 3)
        self.b3b = Unit3D(in_channels, b3b, 1)
        self.out_channels = b0 + b1b + b2b + b3b

    def forward(self, x: Tensor) -> Tensor:
        branches = [
            self.b0.affine(x),
            self.b1b.affine(self.b1a(x)),
            self.b2b.affine(self.b2a(x)),
            self.b3b.affine(max_pool_same(x, (3, 3, 3), (1, 1, 1))),
        ]
        return _joined_relu(branches)


def _joined_relu(branches: Sequence[Tensor]) -> Tensor:
    """ReLU of the branches, joined by channel; for inference in one pass instead of two."""
    if torch.compiler.is_compiling():
        return F.relu_(torch.cat(list(branches), dim=1))
    if any(branch.requires_grad for branch in branches):
        for branch in branches:
            if branch.requires_grad:
                # Else slices of the whole, for which a CPU's batch norm has a way back that takes three times as long.
                branch.register_hook(_rows_of_channels)  # type: ignore[no-untyped-call]
        return F.relu_(torch.cat(list(branches), dim=1))
    b, _, *size = branches[0].shape
    widths = [branch.shape[1] for branch in branches]
    joined = branches[0].new_empty((b, *size, sum(widths))).permute(0, 4, 1, 2, 3)
    for branch, part in zip(branches, joined.split_with_sizes(widths, dim=1), strict=True):
        torch.clamp_min(branch, 0, out=part)
    return joined


def _rows_of_channels(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last_3d)


class Logits(nn.Module):
    """The classifier, kept as the 1x1x1 convolution that checkpoints hold."""

    def __init__(self, in_channels: int, n_classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, n_classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.conv3d.weight.flatten(1), self.conv3d.bias)


class InceptionI3d(VideoNetwork):
    """Inception-v1 inflated to three dimensions: [B, 3, T, H, W] in [-1, 1] -> 1024 features, 400 logits."""

    classifier_name = "logits"
    in_steps = frozenset({_FIRST})

    def __init__(self, n_classes: int = 400) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Stem(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit3D(64, 64, 1)
        self.Conv3d_2c_3x3 = Unit3D(64, 192, 3)
        channels = 192
        for name, block_channels in _BLOCKS.items():
            block = InceptionBlock(channels, block_channels)
            self.add_module(name, block)
            channels = block.out_channels
        self.logits = Logits(channels, n_classes)

    def part_names(self) -> Sequence[str]:
        """The large maps in one, then block by block."""
        return (_FIRST, *_SMALL)

    def part(self, name: str, x: Tensor) -> Tensor:
        """See VideoNetwork."""
        if name == _FIRST:
            n_parts = self._n_parts(x)
            maps = [self._large_maps(some) for some in (x.chunk(n_parts) if n_parts > 1 else (x,))]
            return maps[0] if len(maps) == 1 else torch.cat(maps)
        if name == "Mixed_5b":
            x = max_pool_same(x, (2, 2, 2), (2, 2, 2))
        out: Tensor = self.get_submodule(name)(x)
        return out

    def _n_parts(self, clips: Tensor) -> int:
        """In how many equal parts a batch goes through the large maps.

        On a CPU in twos or threes: larger maps are too large for malloc to keep, and the kernel's clearing of fresh
        pages, 36,000 for a batch of 8, takes a fifth of the time. Equal parts, so that a clip's place does not choose
        its kernels. The smaller maps take the batch whole: bfloat16 products of few rows round otherwise.
        """
        if clips.device.type != "cpu" or self.Conv3d_1a_7x7.bn is not None or torch.compiler.is_exporting():
            return 1
        n = len(clips)
        return next((n // size for size in _PARTS if n % size == 0), 1)

    def _large_maps(self, clips: Tensor) -> Tensor:
        """Everything before the blocks on 14x14 maps."""
        maps = self.again(self._second_maps, self.again(self._first_maps, clips))
        for name in _LARGE:
            maps = self.again(self.get_submodule(name), maps)
        return max_pool_same(maps, (3, 3, 3), (2, 2, 2))

    def _first_maps(self, clips: Tensor) -> Tensor:
        # ReLU and maximum may change places; after the pooling, ReLU has a quarter of the work.
        return F.relu_(max_pool_same(self.Conv3d_1a_7x7.affine(clips), (1, 3, 3), (1, 2, 2)))

    def _second_maps(self, x: Tensor) -> Tensor:
        return F.relu_(max_pool_same(self.Conv3d_2c_3x3.affine(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2)))

    def classify(self, features: Tensor) -> Tensor:
        """[B, 1024] float32 -> [B, n_classes] float32."""
        logits: Tensor = self.logits(features)
        return logits

    def fold(self) -> None:
        for module in self.modules():
            if isinstance(module, Unit3D):
                module.fold()

    def to_bf16(self) -> None:
        super().to_bf16()
        self.Conv3d_1a_7x7.pair()
