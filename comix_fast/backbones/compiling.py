"""torch.compile of a backbone's network: when it pays, and how threads share it."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from types import MappingProxyType

import torch
from torch import Tensor
from torch.utils._triton import has_triton

from comix_fast.backbones.network import VideoNetwork
from comix_fast.backbones.precision import Precision
from comix_fast.errors import ComixError

COMPILE_SECONDS = MappingProxyType({"cpu": 60.0, "cuda": 28.0})
SECONDS_SAVED = MappingProxyType(
    {("cpu", "bf16"): 0.0, ("cpu", "fp32"): 0.004, ("cuda", "bf16"): 0.0, ("cuda", "fp32"): 0.0}
)
"""Per clip of I3D."""

_COMPILERS = MappingProxyType({"darwin": "clang++", "win32": "cl"})
"""What torch.compile calls where $CXX is not set; g++ elsewhere."""


def pays(n_clips: int, device: torch.device, precision: Precision) -> bool:
    """Whether compiling I3D saves more time on n_clips than it takes: n_clips * SECONDS_SAVED > COMPILE_SECONDS.

    Measured on two cores of a Xeon with AMX, two threads, batches of 8, torch 2.14. bf16: 52 to 84 s to compile, then
    67 clips a second instead of 70 (one thread: 40 instead of 37), so never. fp32: 44 s or more, then 16.7 instead of
    15.5, so from 15,000 clips. What a compiler can join (pooling, ReLU, copies) is little beside the convolutions,
    which are the same oneDNN calls either way. On an H100 with torch 2.11 it takes 18 to 28 s a shape, and the code it
    makes is no faster (docs/gpu.md), so never.
    Ask it once for a whole cache: what it says becomes part of the recipe, so a rest of the clips must not be asked.
    """
    saved = SECONDS_SAVED.get((device.type, precision), 0.0)
    return n_clips * saved > COMPILE_SECONDS.get(device.type, 0.0)


class CompiledForward:
    """The compiled forward of a network: clips [B, 3, T, S, S] float32 -> features [B, D] float32.

    Compiles at the first call for each shape and number of intra-op threads, which takes a minute or more on a CPU.
    Threads may call it at once: while one compiles, others wait; after that they run side by side.
    Raises ComixError where compiling fails.
    """

    def __init__(self, network: VideoNetwork) -> None:
        self._forward: Callable[[Tensor], Tensor] = torch.compile(network.forward, fullgraph=True, dynamic=False)
        self._compiling = threading.Lock()
        self._ready: set[Hashable] = set()

    def __call__(self, clips: Tensor) -> Tensor:
        clips = clips.contiguous(memory_format=torch.channels_last_3d)
        # What torch.compile makes code for anew; a change of any other kind is not made here.
        kind = (
            clips.shape,
            clips.stride(),
            torch.get_num_threads(),
            torch.is_inference_mode_enabled(),
            torch.is_grad_enabled(),
            clips.is_inference(),
        )
        if kind in self._ready:
            return self._forward(clips)
        with self._compiling, _quiet():
            try:
                features = self._forward(clips)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, OSError, torch._dynamo.exc.FailOnRecompileLimitHit) as error:
                raise ComixError(
                    "the backbone could not be compiled",
                    details=[_first_line(error)],
                    hint="leave --compile out: the features are the same up to rounding",
                ) from error
            self._ready.add(kind)
        return features


def require_compiler(device: torch.device) -> None:
    """Raises ComixError, before any work is done, where torch.compile lacks what it needs for the device.

    On a CPU that is a C++ compiler ($CXX, else g++ or clang++ as torch looks for it), on CUDA also triton.
    """
    command = os.environ.get("CXX") or _COMPILERS.get(sys.platform, "g++")
    words = shlex.split(command)
    if not words or shutil.which(words[0]) is None:
        raise ComixError(
            f"--compile needs a C++ compiler, and there is no {command} here",
            hint="install one (Debian, Ubuntu: apt install g++), point $CXX at it, or leave --compile out",
        )
    if device.type == "cuda" and not has_triton():
        raise ComixError(
            "--compile on CUDA needs triton, which is not here or does not know this GPU",
            hint="pip install triton, or leave --compile out",
        )


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile has what it needs for the device, see require_compiler."""
    try:
        require_compiler(device)
    except ComixError:
        return False
    return True


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps torch.compile from logging, on a machine with a CUDA toolkit and no GPU, that there is no GPU."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
