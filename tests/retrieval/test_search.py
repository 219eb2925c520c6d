"""Nearest neighbours among points drawn at chosen angles, against plain loops."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from comix_fast.errors import ComixError, ShapeError
from comix_fast.retrieval import candidates as candidates_module
from comix_fast.retrieval import index as index_module
from comix_fast.retrieval import l2_normalise, rankings, search
from comix_fast.retrieval import vectors as vectors_module
from comix_fast.retrieval.index import ranked_relevance


def at(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane at these angles."""
    return np.array([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees], np.float32)


def naive(queries: np.ndarray, gallery: np.ndarray, exclude: list[int] | None = None) -> list[list[int]]:
    """Every query's gallery rows by falling similarity, the lower row first among equals; loops only."""
    lists = []
    for q, query in enumerate(queries):
        scored = []
        for row, item in enumerate(gallery):
            if exclude is None or exclude[q] != row:
                dot = math.fsum(float(a) * float(b) for a, b in zip(query, item, strict=True))
                scored.append((-float(np.float32(dot)), row))
        lists.append([row for _, row in sorted(scored)])
    return lists


# --- l2_normalise


def test_rows_keep_their_direction_and_get_norm_one() -> None:
    unit = l2_normalise(np.array([[3.0, 4.0], [0.0, -2.0], [1e-30, 1e-30]]))
    expected = [[0.6, 0.8], [0, -1], [math.sqrt(0.5), math.sqrt(0.5)]]
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, expected, rtol=1e-7)


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1.0, 1e20, 1e300])
def test_scale_does_not_matter(scale: float) -> None:
    points = np.array([[3.0, 4.0, 12.0]])
    np.testing.assert_allclose(l2_normalise(points * scale), points / 13, rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_every_real_type_is_taken(dtype: type) -> None:
    np.testing.assert_allclose(l2_normalise(np.array([[60, 80]], dtype)), [[0.6, 0.8]], rtol=1e-7)


def test_the_input_is_left_as_it_was_and_blocks_agree(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = rng.normal(size=(23, 5))
    before = vectors.copy()
    whole = l2_normalise(vectors)
    monkeypatch.setattr(vectors_module, "NORM_BLOCK", 4)
    assert (l2_normalise(vectors) == whole).all()
    assert (vectors == before).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_rows_are_counted_and_named(value: float) -> None:
    vectors = np.ones((4, 3), np.float32)
    vectors[1, 2] = vectors[3, 0] = value
    with pytest.raises(ComixError, match=r"2 of 4 vectors hold NaN or infinity\n  b \(row 1\), d \(row 3\)"):
        l2_normalise(vectors, ["a", "b", "c", "d"])
    with pytest.raises(ComixError, match=r"row 1, row 3"):
        l2_normalise(vectors)


def test_zero_rows_are_counted_and_named() -> None:
    vectors = np.eye(3)
    vectors[2] = 0
    with pytest.raises(ComixError, match=r"1 of 3 vectors are zero all over.*\n  clap \(row 2\)"):
        l2_normalise(vectors, ["wave", "kick", "clap"])


@pytest.mark.parametrize("bad", [np.ones(3), np.ones((2, 0)), np.ones((2, 2), bool), np.ones((2, 2), complex)])
def test_other_shapes_and_types_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ShapeError):
        l2_normalise(bad)


def test_ids_of_another_length_are_refused() -> None:
    with pytest.raises(ShapeError, match="1 ids for 2 vectors"):
        l2_normalise(np.eye(2), ["a"])


# --- search


def test_neighbours_of_points_on_a_circle() -> None:
    similarity, index = search(at(0, 100), at(10, 200, 80, 350, 120), 3)
    # from 0°: 10° and 350° are equally far (row 0 first), then 80°; from 100°: 80° and 120°, then 10°
    assert index.tolist() == [[0, 3, 2], [2, 4, 0]]
    assert (similarity.dtype, index.dtype) == (np.float32, np.int64)
    cosines = [[math.cos(math.radians(d)) for d in row] for row in ([10, 10, 80], [20, 20, 90])]
    np.testing.assert_allclose(similarity, cosines, atol=1e-6)


def test_the_opposite_point_has_similarity_minus_one() -> None:
    similarity, index = search(at(30), at(210, 30), 2)
    assert index.tolist() == [[1, 0]]
    np.testing.assert_allclose(similarity, [[1, -1]], atol=1e-6)


@pytest.mark.parametrize("copies", [3, 40, 300])  # fewer, more and far more than are asked of faiss
def test_equal_items_come_in_gallery_order(copies: int) -> None:
    gallery = np.concatenate([at(90), np.repeat(at(33), copies, axis=0), at(33.0001)])
    similarity, index = search(at(30, 33), gallery, 3)
    assert index.tolist() == [[1, 2, 3], [1, 2, 3]]
    assert (similarity[:, 0] == similarity[:, 2]).all()


def test_a_query_never_finds_itself_when_left_out() -> None:
    points = at(0, 5, 90, 97, 200)
    _, index = search(points, points, 2, np.arange(5))
    assert index.tolist() == naive_first(points, 2)
    assert search(points, points, 1)[1].ravel().tolist() == [0, 1, 2, 3, 4]


def naive_first(points: np.ndarray, k: int) -> list[list[int]]:
    return [rows[:k] for rows in naive(points, points, list(range(len(points))))]


def test_a_twin_is_found_though_the_query_itself_is_left_out() -> None:
    points = np.repeat(at(0, 90), 50, axis=0)  # fifty copies of each: the row left out is not the only best one
    _, index = search(points, points, 2, np.arange(100))
    assert index[0].tolist() == [1, 2]
    assert index[1].tolist() == [0, 2]
    assert index[70].tolist() == [50, 51]


def test_leaving_out_is_per_query() -> None:
    _, index = search(at(0, 0), at(0, 10, 20), 2, np.array([-1, 0]))
    assert index.tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize("exclude", [False, True])
def test_a_large_gallery_agrees_with_plain_loops(rng: np.random.Generator, exclude: bool) -> None:
    vectors = rng.normal(size=(150, 8))
    vectors[60:75] = vectors[10]  # ties across the cut
    unit = l2_normalise(vectors)
    own = np.arange(150) if exclude else None
    _, index = search(unit, unit, 7, own)
    rows = naive(unit, unit, None if own is None else own.tolist())
    assert index.tolist() == [row[:7] for row in rows]


@pytest.mark.parametrize("spread", [3e-4, 3e-3, 1.0])
@pytest.mark.parametrize("spare", [1, 16])
def test_candidates_and_the_whole_gallery_agree(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, spread: float, spare: int
) -> None:
    # The less the spread, the more rows lie within float32 rounding of the k-th, where faiss may be wrong.
    unit = l2_normalise(1 + spread * rng.normal(size=(400, 64)))
    monkeypatch.setattr(index_module, "SPARE", 400)
    whole = search(unit, unit, 5)
    monkeypatch.setattr(index_module, "SPARE", spare)
    candidates = search(unit, unit, 5)
    np.testing.assert_array_equal(candidates[1], whole[1])
    np.testing.assert_array_equal(candidates[0], whole[0])


def test_near_ties_at_the_cut_are_seen_though_the_query_itself_is_left_out(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each of fifty rows has one twin and a crowd all about as far: itself left out, its second neighbour is
    # one of the crowd, though the second of faiss's list is the twin.
    rows = 1 + rng.normal(size=(50, 64))
    crowd = -np.ones(64) + 1e-6 * rng.normal(size=(300, 64))
    for place in range(50):
        gallery = l2_normalise(np.vstack([rows[place], rows[place] * 1.001 + 0.001, crowd]))
        monkeypatch.setattr(index_module, "SPARE", 1)
        candidates = search(gallery[:1], gallery, 2, np.array([0]))[1]
        monkeypatch.setattr(index_module, "SPARE", 400)
        assert candidates.tolist() == search(gallery[:1], gallery, 2, np.array([0]))[1].tolist()
        assert candidates[0, 0] == 1 and candidates[0, 1] > 1


def test_chunks_equal_the_whole(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = rng.normal(size=(211, 6))
    vectors[50:200] = vectors[7]  # more copies than are asked of faiss, and half of the queries near them
    near = rng.normal(size=(37, 6)) + np.where(np.arange(37) % 2, 5, 0)[:, None] * vectors[7]
    queries, gallery = l2_normalise(near), l2_normalise(vectors)
    whole = search(queries, gallery, 4)
    for module, name, value in (
        (index_module, "MEMORY", 5000),
        (index_module, "GALLERY_BLOCK", 10),
        (index_module, "PAIRS", 7),
        (candidates_module, "QUERY_ROWS", 5),
        (candidates_module, "GALLERY_ROWS", 9),  # fewer than the candidates asked for
    ):
        monkeypatch.setattr(module, name, value)
    parts = search(queries, gallery, 4)
    np.testing.assert_array_equal(parts[1], whole[1])
    np.testing.assert_array_equal(parts[0], whole[0])


def test_no_queries_find_nothing() -> None:
    similarity, index = search(np.empty((0, 2), np.float32), at(*range(40)), 3)
    assert similarity.shape == index.shape == (0, 3)


POINTS = st.lists(st.tuples(*[st.integers(-3, 3)] * 3).filter(any), min_size=1, max_size=30)


@settings(max_examples=150, deadline=None)
@given(POINTS, POINTS, st.data())
def test_any_points_on_a_grid_agree_with_plain_loops(
    queries: list[tuple[int, ...]], gallery: list[tuple[int, ...]], draw: st.DataObject
) -> None:
    # Whole numbers: many points share a direction, so ties are the rule here.
    left, right = l2_normalise(np.array(queries)), l2_normalise(np.array(gallery))
    same = draw.draw(st.booleans()) and len(gallery) > 1
    if same:
        left = right
    k = draw.draw(st.integers(1, len(right) - same))
    similarity, index = search(left, right, k, np.arange(len(right)) if same else None)
    expected = naive(left, right, list(range(len(right))) if same else None)
    assert index.tolist() == [rows[:k] for rows in expected]
    np.testing.assert_allclose(similarity, np.take_along_axis(left @ right.T, index, axis=1), atol=1e-6)


@pytest.mark.parametrize("k", [0, -1, 4])
def test_k_outside_the_gallery_is_refused(k: int) -> None:
    with pytest.raises(ComixError, match=f"k = {k}"):
        search(at(0), at(1, 2, 3), k)


def test_k_counts_without_the_query_itself() -> None:
    points = at(0, 1, 2)
    with pytest.raises(ComixError, match=r"only 2 items without the query itself\n  choose k of at most 2"):
        search(points, points, 3, np.arange(3))
    with pytest.raises(ComixError, match="larger gallery"):
        search(points[:1], points[:1], 1, np.zeros(1, np.int64))


def test_an_empty_gallery_is_refused() -> None:
    with pytest.raises(ComixError, match="gallery is empty"):
        search(at(0), np.empty((0, 2), np.float32), 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 2.0])
@pytest.mark.parametrize("where", ["queries", "gallery"])
def test_vectors_that_were_not_normalised_are_refused(value: float, where: str) -> None:
    bad, good = at(0, 90), at(0, 90)
    bad[1, 1] = value
    pair = (bad, good) if where == "queries" else (good, bad)
    with pytest.raises(ShapeError, match=f"1 of 2 {where} are not of norm 1"):
        search(*pair, 1)


def test_shapes_that_do_not_fit_are_refused() -> None:
    three = l2_normalise(np.eye(3))
    with pytest.raises(ShapeError, match="of one D"):
        search(at(0), three, 1)
    with pytest.raises(ShapeError, match="float32"):
        search(at(0).astype(np.float64), at(0), 1)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="exclude must be"):
        search(at(0), at(0, 1), 1, np.arange(2))
    with pytest.raises(ShapeError, match="outside the gallery"):
        search(at(0), at(0, 1), 1, np.array([2]))


# --- rankings


@pytest.mark.parametrize("chunk", [None, 1, 4, 9, 100])
def test_rankings_in_chunks_equal_plain_loops(rng: np.random.Generator, chunk: int | None) -> None:
    vectors = rng.normal(size=(9, 4))
    vectors[5] = vectors[2]
    unit = l2_normalise(vectors)
    seen = []
    for part, similarity, order in rankings(unit, unit, np.arange(9), chunk=chunk):
        assert order[:, -1].tolist() == list(range(9))[part]
        assert np.isneginf(similarity[:, -1]).all() and np.isfinite(similarity[:, :-1]).all()
        seen += order[:, :-1].tolist()
    assert seen == naive(unit, unit, list(range(9)))


def test_rankings_begin_as_search_does(rng: np.random.Generator) -> None:
    queries, gallery = l2_normalise(rng.normal(size=(20, 16))), l2_normalise(rng.normal(size=(120, 16)))
    similarity, index = search(queries, gallery, 6)
    ((_, whole, order),) = rankings(queries, gallery)
    np.testing.assert_array_equal(order[:, :6], index)
    np.testing.assert_array_equal(whole[:, :6], similarity)


def test_falling_order_of_zeros_signs_and_what_is_left_out() -> None:
    row = np.array([[0.0, -0.5, -0.0, 1.0, -np.inf, 0.0, 0.5, -0.5, 1e-45, -1e-45]], np.float32)
    assert index_module._falling(row).tolist() == [[3, 6, 8, 0, 2, 5, 9, 1, 7, 4]]


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20))
def test_falling_order_agrees_with_a_plain_sort(row: list[float]) -> None:
    expected = sorted(range(len(row)), key=lambda place: (-row[place], place))
    assert index_module._falling(np.array([row], np.float32)).tolist() == [expected]


@pytest.mark.parametrize("chunk", [None, 1, 4, 100])
def test_ranked_relevance_is_rankings_with_labels_for_rows(rng: np.random.Generator, chunk: int | None) -> None:
    vectors, labels = rng.normal(size=(30, 3)), rng.integers(-1, 3, 30)
    vectors[5:12] = vectors[20]  # ties between items of several classes
    unit = l2_normalise(vectors)
    asked, own = labels.clip(0), np.arange(30)
    seen = np.concatenate([found for _, found in ranked_relevance(unit, asked, unit, labels, own, chunk=chunk)])
    expected = [[labels[row] == asked[q] for row in rows] for q, rows in enumerate(naive(unit, unit, own.tolist()))]
    assert seen[:, :-1].tolist() == expected
    assert not seen[:, -1].any()  # the query itself


def test_products_of_many_queries_share_one_gallery_in_float64(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, gallery = l2_normalise(rng.normal(size=(23, 6))), l2_normalise(rng.normal(size=(40, 6)))
    ((_, similarity, order),) = rankings(queries, gallery)
    monkeypatch.setattr(index_module, "MEMORY", 1)  # a quarter of the gallery's bytes: products of one query at a time
    parts = list(rankings(queries, gallery, chunk=5))
    assert [part.start for part, *_ in parts] == list(range(23)) and parts[-1][0].stop == 23
    np.testing.assert_array_equal(np.concatenate([rows for *_, rows in parts]), order)
    np.testing.assert_array_equal(np.concatenate([values for _, values, _ in parts]), similarity)


# --- faiss


def test_importing_retrieval_loads_neither_faiss_nor_torch() -> None:
    code = "import sys, comix_fast.retrieval; print(sorted({'faiss', 'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_faiss_imports_with_warnings_as_errors_and_leaves_the_filters_alone() -> None:
    code = (
        "import warnings; from comix_fast.retrieval import approximate; before = list(warnings.filters); "
        "approximate.load_faiss(); assert warnings.filters == before; warnings.warn('swig', DeprecationWarning)"
    )
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1 and ran.stderr.strip().endswith("DeprecationWarning: swig")


# --- candidates


def test_lowered_precision_of_torch_changes_no_neighbour(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, gallery = l2_normalise(rng.normal(size=(40, 32))), l2_normalise(rng.normal(size=(500, 32)))
    expected = search(queries, gallery, 5)
    before = torch.get_float32_matmul_precision()
    plain = candidates_module.product_error(32, torch.device("cpu"))
    try:
        torch.set_float32_matmul_precision("medium")
        assert candidates_module.product_error(32, torch.device("cpu")) > 1000 * plain
        assert candidates_module.product_error(32, torch.device("cuda")) > 1000 * plain
        lowered = search(queries, gallery, 5)
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(lowered[1], expected[1])
    np.testing.assert_array_equal(lowered[0], expected[0])


def test_candidates_that_are_coarse_but_say_so_change_no_neighbour(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Products as of bfloat16 factors: each off by up to what `error` admits, so more rows must be measured again.
    queries, gallery = l2_normalise(rng.normal(size=(60, 16))), l2_normalise(rng.normal(size=(700, 16)))
    expected = search(queries, gallery, 5)
    real = candidates_module.candidates

    def coarse(queries: np.ndarray, gallery: np.ndarray, wanted: int) -> Iterator[candidates_module.Candidates]:
        def rounded(vectors: np.ndarray) -> np.ndarray:
            return torch.from_numpy(vectors).bfloat16().float().numpy()

        for found in real(rounded(queries), rounded(gallery), wanted):
            yield replace(found, error=2 * 2.0**-8 + 2.0**-16)

    monkeypatch.setattr(index_module, "candidates", coarse)
    found = search(queries, gallery, 5)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


def test_vectors_that_cannot_be_written_to_are_searched(rng: np.random.Generator) -> None:
    gallery = l2_normalise(rng.normal(size=(50, 4)))
    gallery.flags.writeable = False
    assert search(gallery, gallery, 1)[1].ravel().tolist() == list(range(50))


@pytest.mark.parametrize("wanted", [1, 7, 30])
def test_candidates_fall_and_none_is_missing(rng: np.random.Generator, wanted: int) -> None:
    queries, gallery = l2_normalise(rng.normal(size=(12, 5))), l2_normalise(rng.normal(size=(30, 5)))
    (found,) = candidates_module.candidates(queries, gallery, wanted, torch.device("cpu"))
    assert found.part == slice(0, 12) and found.rows.shape == found.products.shape == (12, wanted)
    assert (np.diff(found.products, axis=1) <= 0).all()
    assert found.rows.tolist() == [rows[:wanted] for rows in naive(queries, gallery)]
