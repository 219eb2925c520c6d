"""Maps: principal components by hand, t-SNE that does not hang on the machine, turning, the grid."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from comix_fast.errors import ShapeError
from comix_fast.report.gathering import layout
from comix_fast.report.gathering.layout import (
    SIDE,
    lay_out,
    lay_out_all,
    method_text,
    on_grid,
    perplexity_of,
    principal,
    turned,
)


def clusters(rng: np.random.Generator, n: int = 90, dim: int = 80, groups: int = 3) -> tuple[np.ndarray, np.ndarray]:
    label = np.arange(n) % groups
    rows = 10 * rng.normal(size=(groups, dim))[label] + rng.normal(size=(n, dim))
    return rows.astype(np.float32), label


def test_the_same_seed_gives_the_same_map_on_any_number_of_threads(rng: np.random.Generator) -> None:
    rows, _ = clusters(rng, n=300)
    with threadpool_limits(2):
        first = lay_out(rows, seed=4)
    with threadpool_limits(1):
        assert np.array_equal(lay_out(rows, seed=4), first)
    done: list[int] = []
    both = lay_out_all([rows, rows[::-1]], 4, 2, done.append)
    assert np.array_equal(both[0], first) and done == [1, 1]


INTERRUPTED = """
import signal, threading
# Shells have what they run in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
import numpy as np
from comix_fast.report.gathering import layout
begun = threading.Barrier(3)
def endless(vectors, seed):
    begun.wait()
    threading.Event().wait()
layout.lay_out = endless
threading.Thread(target=lambda: (begun.wait(), print("begun", flush=True)), daemon=True).start()
layout.lay_out_all([np.zeros((9, 2))] * 3, 0, 2, print)
"""


def test_an_interruption_waits_for_no_map() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=5)
        finally:
            process.kill()
    assert process.returncode in (-signal.SIGINT, 130) and said.rstrip().endswith("KeyboardInterrupt")


def test_a_map_that_fails_is_an_error_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    laid: list[float] = []

    def fails(vectors: np.ndarray, seed: int) -> np.ndarray:
        laid.append(vectors[0, 0])
        raise ShapeError(f"map {vectors[0, 0]:.0f}")

    monkeypatch.setattr(layout, "lay_out", fails)
    with pytest.raises(ShapeError, match="map 0"):
        lay_out_all([np.full((2, 2), float(n)) for n in range(4)], 0, 1, lambda done: None)
    assert laid == [0.0]


def test_maps_come_in_the_order_of_their_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    last_is_done = threading.Event()

    def slowly(vectors: np.ndarray, seed: int) -> np.ndarray:
        if vectors[0, 0] == 0:
            assert last_is_done.wait(10)
        elif vectors[0, 0] == 3:
            last_is_done.set()
        return vectors

    monkeypatch.setattr(layout, "lay_out", slowly)
    done: list[int] = []
    found = lay_out_all([np.full((2, 2), float(n)) for n in range(4)], 0, 2, done.append)
    assert [one[0, 0] for one in found] == [0, 1, 2, 3] and done == [1, 1, 1, 1]


def test_what_is_near_stays_near(rng: np.random.Generator) -> None:
    rows, label = clusters(rng)
    points = lay_out(rows, seed=0)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (label[distance.argmin(axis=1)] == label).all()


def test_another_seed_gives_another_map_of_the_same_groups(rng: np.random.Generator) -> None:
    rows, label = clusters(rng)
    one, other = lay_out(rows, 0), lay_out(rows, 1)
    assert np.abs(one - turned(other, one)).max() > 0.01
    for points in (one, other):
        middles = np.stack([points[label == group].mean(axis=0) for group in range(3)])
        assert (np.linalg.norm(points[:, None] - middles, axis=2).argmin(axis=1) == label).all()


@pytest.mark.parametrize("shape", [(40, 7), (12, 30), (120, 64)])
def test_components_are_those_of_the_singular_values(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    rows = rng.normal(size=shape) * np.arange(1, shape[1] + 1)
    found = principal(rows)
    u, s, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    expected = (u * s)[:, : min(50, *shape)]
    expected /= expected[:, 0].std()
    assert found.shape == expected.shape
    assert np.abs(np.abs(found) - np.abs(expected)).max() <= 0.51e-5
    assert np.array_equal(found, np.round(found, 5))


def test_too_few_videos_for_a_neighbourhood(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(4, 9))
    assert np.array_equal(lay_out(rows, 0), principal(rows)[:, :2])
    assert np.array_equal(lay_out(rows[:1], 0), [[0, 0]])
    assert method_text(4, 9, 0).startswith("the first two principal components")
    assert lay_out(rng.normal(size=(6, 1)), 0).shape == (6, 2)
    assert not lay_out(np.full((30, 8), 1 / 3, np.float32), 0).any()
    with pytest.raises(ShapeError, match="N and D at least 1"):
        lay_out(np.zeros((0, 3)), 0)


def test_the_method_says_what_was_done() -> None:
    assert method_text(120, 1024, 3) == ("t-SNE of PCA to 50 dimensions of vectors of length 1, perplexity 30, seed 3")
    assert "of principal components" in method_text(120, 50, 0)
    assert perplexity_of(91) == 30
    assert perplexity_of(31) == 10
    assert "perplexity 3.67" in method_text(12, 6, 0)


def test_a_turned_and_mirrored_map_is_turned_back(rng: np.random.Generator) -> None:
    points = rng.normal(size=(20, 2))
    angle = 2.1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1, -1])
    back = turned(points @ turn + [5, -3], points)
    assert np.allclose(back, points - points.mean(axis=0))


def test_the_grid_keeps_the_aspect() -> None:
    assert on_grid(np.array([[0.0, 0.0], [4.0, 1.0], [2.0, 2.0]])) == {"x": [0, SIDE, 500], "y": [250, 500, 750]}
    assert on_grid(np.zeros((3, 2))) == {"x": [500] * 3, "y": [500] * 3}
