"""Which decoder is taken, and that torchcodec is taken only where it earns it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from comix_fast.errors import VideoError
from comix_fast.video import Decoder, DecoderError, choose_decoder, decoder, open_stream

Write = Callable[..., Path]
Pictures = Callable[..., np.ndarray]


@pytest.fixture(autouse=True)
def fresh_choice() -> Iterator[None]:
    choose_decoder.cache_clear()
    yield
    choose_decoder.cache_clear()


@pytest.fixture
def torchcodec() -> Decoder:
    try:
        return choose_decoder("torchcodec")
    except DecoderError as error:
        pytest.skip(error.message)


def test_pyav_tells_its_version() -> None:
    chosen = choose_decoder("pyav")
    assert chosen.name == "pyav"
    assert chosen.version.startswith(av.__version__)
    assert "libavcodec" in chosen.version


def test_unknown_names_are_refused() -> None:
    with pytest.raises(DecoderError, match="no decoder 'opencv'"):
        choose_decoder("opencv")


@pytest.mark.skipif(importlib.util.find_spec("torchcodec") is not None, reason="torchcodec is installed")
def test_without_torchcodec() -> None:
    chosen = choose_decoder("auto")
    assert chosen == choose_decoder("pyav")
    assert chosen.reason == "torchcodec is not installed"
    with pytest.raises(DecoderError, match="torchcodec is not installed"):
        choose_decoder("torchcodec")


def pretend(monkeypatch: pytest.MonkeyPatch, alter: Callable[[np.ndarray], np.ndarray]) -> None:
    """A torchcodec that decodes as PyAV does and then alters each frame."""

    class Pretended(decoder.PyavStream):
        def _frames(self) -> Iterator[np.ndarray]:
            yield from map(alter, super()._frames())

    monkeypatch.setattr(decoder, "TorchcodecStream", Pretended)
    monkeypatch.setattr(decoder.importlib.metadata, "version", lambda name: "9.9")


def test_equal_frames_earn_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda frame: frame)
    assert choose_decoder("auto") == Decoder("torchcodec", "9.9")


def test_one_bit_loses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def flip_one_bit_of_odd_frames(frame: np.ndarray) -> np.ndarray:
        frame = frame.copy()
        frame[-1, -1, -1] ^= frame.shape[1] % 2
        return frame

    pretend(monkeypatch, flip_one_bit_of_odd_frames)
    chosen = choose_decoder("auto")
    assert chosen.name == "pyav"
    assert "differ from PyAV's (mpeg4, 63×47)" in chosen.reason
    assert choose_decoder("torchcodec").name == "torchcodec"


def test_failing_to_decode_loses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(frame: np.ndarray) -> np.ndarray:
        raise VideoError("even.mp4: can't be decoded by torchcodec (no FFmpeg)")

    pretend(monkeypatch, fail)
    assert choose_decoder("auto").reason == "can't be decoded by torchcodec (no FFmpeg)"
    with pytest.raises(DecoderError, match="no FFmpeg"):
        choose_decoder("torchcodec")


def test_torchcodec_where_it_works(torchcodec: Decoder, write_video: Write, pictures: Pictures) -> None:
    path = write_video("a.mp4", "libx264", pictures(40))
    with open_stream(path, decoder="pyav") as ours, open_stream(path, decoder=torchcodec) as theirs:
        assert theirs.fps == ours.fps
        assert np.array_equal(np.stack(list(ours)), np.stack(list(theirs)))
    with open_stream(path, (7, 30), "pyav") as ours, open_stream(path, (7, 30), torchcodec) as theirs:
        assert np.array_equal(np.stack(list(ours)), np.stack(list(theirs)))
    cut = path.with_name("cut.mkv")
    whole = write_video("whole.mkv", "libx264").read_bytes()
    cut.write_bytes(whole[: len(whole) * 9 // 10])
    with pytest.raises(VideoError, match="cut short"):
        open_stream(cut, decoder=torchcodec)


def test_the_package_does_not_import_torch() -> None:
    program = "import sys, comix_fast.video; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
