"""Searching through faiss indexes: what they may miss is measured, and what can't work is said before faiss sees it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from comix_fast.errors import ComixError
from comix_fast.retrieval import Embeddings, IndexChoice, approximate, evaluate, l2_normalise, search
from comix_fast.retrieval.approximate import load_faiss, recall_against_flat, search_through
from comix_fast.retrieval.factory import check_fit, parse

WORKING = [
    "SQ4",
    "SQ8",
    "SQfp16",
    "SQbf16",
    "PQ8",
    "PQ8x4",
    "PQ8x4fs",
    "IVF8,Flat",
    "IVF8,SQ8",
    "IVF8,PQ8x4",
    "IVF8_HNSW4,Flat",
    "HNSW16",
    "HNSW16,Flat",
    "HNSW16_SQ8",
    "HNSW16_PQ8",
    "PCA8,Flat",
    "PCAR8,IVF8,Flat",
    "RR16,SQ8",
    "OPQ4,PQ4",
    "OPQ4_8,IVF8,PQ4x4fs",
]


def clusters(rng: np.random.Generator, rows: int, dims: int = 16) -> np.ndarray:
    centres = np.random.default_rng(5).normal(size=(6, dims))
    return l2_normalise(centres[rng.integers(0, 6, rows)] + 0.7 * rng.normal(size=(rows, dims)))


@pytest.mark.parametrize("factory", WORKING)
def test_every_known_index_gives_true_cosines_in_order_and_is_silent(
    rng: np.random.Generator, factory: str, capfd: pytest.CaptureFixture[str]
) -> None:
    queries, gallery = clusters(rng, 30), clusters(rng, 400)
    found = search_through(IndexChoice(factory), queries, gallery, 5)
    assert capfd.readouterr().err == ""
    cosines = queries.astype(np.float64) @ gallery.T.astype(np.float64)
    assert found.index.min() >= 0
    assert all(len(set(rows)) == 5 for rows in found.index.tolist())
    np.testing.assert_allclose(found.similarity, np.take_along_axis(cosines, found.index, axis=1), atol=1e-7)
    assert (np.diff(found.similarity, axis=1) <= 0).all()
    again = search_through(IndexChoice(factory), queries, gallery, 5)
    np.testing.assert_array_equal(found.index, again.index)
    assert recall_against_flat(found.similarity, queries, gallery)[0] > 0.5


def test_an_index_that_looks_everywhere_equals_the_exact_search(rng: np.random.Generator) -> None:
    gallery = clusters(rng, 300)
    gallery[40:60] = gallery[7]  # ties: the lower row first, whatever order faiss gives them
    own = np.arange(300)
    exact = search(gallery, gallery, 5, own)
    choice = IndexChoice("IVF8,Flat", "nprobe=8")
    found = search_through(choice, gallery, gallery, 5, own)
    np.testing.assert_array_equal(found.index, exact[1])
    np.testing.assert_array_equal(found.similarity, exact[0])
    assert (found.settings, found.completed) == ({"candidates": 100, "nprobe": 8}, 0)


def test_queries_that_find_too_few_are_searched_exactly_and_counted(rng: np.random.Generator) -> None:
    # Three far clusters of 4, 60 and 60: in the smallest one's list there are 4 items, and k is 6.
    centres = np.eye(3, 8)
    gallery = l2_normalise(np.repeat(centres, [4, 60, 60], axis=0) + 0.01 * rng.normal(size=(124, 8)))
    queries = l2_normalise(centres[[0, 1, 0, 2]] + 0.01 * rng.normal(size=(4, 8)))
    found = search_through(IndexChoice("IVF3,Flat", "nprobe=1"), queries, gallery, 6)
    assert found.completed == 2
    assert found.index.min() >= 0
    np.testing.assert_array_equal(found.index[[0, 2]], search(queries[[0, 2]], gallery, 6)[1])
    # the query itself does not count as one of the k
    itself = search_through(IndexChoice("IVF3,Flat", "nprobe=1"), gallery[:4], gallery, 4, np.arange(4))
    assert itself.completed == 4
    assert all(row not in rows for row, rows in enumerate(itself.index.tolist()))


def test_recall_is_the_plain_count(rng: np.random.Generator) -> None:
    queries, gallery = clusters(rng, 50), clusters(rng, 400)
    found = search_through(IndexChoice("IVF20,Flat", "nprobe=1"), queries, gallery, 5)
    right = 0
    for query, rows in zip(queries.astype(np.float64), found.index, strict=True):
        cosines = [float(query @ item) for item in gallery.astype(np.float64)]
        best = sorted(range(400), key=lambda row: -cosines[row])[:5]
        right += len(set(best) & set(rows.tolist()))
    recall, sample = recall_against_flat(found.similarity, queries, gallery)
    assert sample == 50
    assert recall == pytest.approx(right / 250)
    assert 0.2 < recall < 1  # so that the count can be wrong


def test_an_equally_similar_item_counts_as_found() -> None:
    gallery = l2_normalise(np.array([[1, 0], [1, 0], [0, 1], [-1, 0]]))
    one = np.ones((1, 1), np.float32)
    assert recall_against_flat(one, gallery[:1], gallery) == (1.0, 1)
    assert recall_against_flat(0 * one, gallery[:1], gallery) == (0.0, 1)


def test_recall_of_many_queries_is_that_of_a_drawn_sample(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, gallery = clusters(rng, 60), clusters(rng, 200)
    similarity, _ = search(queries, gallery, 3)
    similarity[:30] = -1  # half of them found nothing
    assert recall_against_flat(similarity, queries, gallery) == (0.5, 60)
    monkeypatch.setattr(approximate, "SAMPLE", 20)
    drawn = {seed: recall_against_flat(similarity, queries, gallery, seed=seed) for seed in range(6)}
    for seed, (recall, sample) in drawn.items():
        chosen = np.random.default_rng(seed).choice(np.arange(60), 20, replace=False)
        assert (recall, sample) == (pytest.approx((chosen >= 30).mean()), 20)
    assert len(set(drawn.values())) > 1
    assert recall_against_flat(similarity[:0], queries[:0], gallery) == (1.0, 0)


def test_no_queries_find_nothing_through_an_index(rng: np.random.Generator) -> None:
    gallery = clusters(rng, 50)
    assert search_through(IndexChoice("IVF2,Flat"), gallery[:0], gallery, 3).index.shape == (0, 3)


def test_small_training_sets_are_explained_in_our_words(rng: np.random.Generator) -> None:
    found = search_through(IndexChoice("IVF20,Flat"), clusters(rng, 3), clusters(rng, 300), 2)
    assert found.notes == ("the index learned 20 centroids from 300 items; 780 items or more are advisable",)
    assert search_through(IndexChoice("IVF7,Flat"), clusters(rng, 3), clusters(rng, 300), 2).notes == ()


def test_how_hard_an_index_searches_grows_with_it_and_can_be_said(rng: np.random.Generator) -> None:
    queries, gallery = clusters(rng, 3), clusters(rng, 400)

    def settings(factory: str, asked: str = "", k: int = 2) -> dict[str, int]:
        return search_through(IndexChoice(factory, asked), queries, gallery, k).settings

    assert settings("IVF4,Flat") == {"candidates": 100, "nprobe": 4}
    assert settings("IVF200,Flat") == {"candidates": 100, "nprobe": 13}
    assert settings("IVF200,Flat", "nprobe=500", k=30) == {"candidates": 120, "nprobe": 200}
    assert settings("HNSW8", k=30) == {"candidates": 120, "efSearch": 120}
    assert settings("HNSW8", "efSearch=7") == {"candidates": 100, "efSearch": 7}
    both = settings("PCA8,IVF16_HNSW4,Flat", "nprobe=2, efSearch=9")
    assert both == {"candidates": 100, "nprobe": 2, "efSearch": 9}


def test_growing_a_graph_leaves_faiss_with_its_threads(rng: np.random.Generator) -> None:
    faiss = load_faiss()
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(2)
        search_through(IndexChoice("HNSW4"), clusters(rng, 3), clusters(rng, 200), 2)
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)


UNKNOWN = ["", ",", "flat", "Flat,", "IVF16", "IVF99999999999999999999,Flat", "PQ-3", "LSH", "IDMap,Flat", "SQ3"]


@pytest.mark.parametrize(
    "factory", [*UNKNOWN, "HNSW8,PQ8,Flat", "IVF4,HNSW8", "Flat,IVF4", "PCA8_4,Flat", "PCA8", "RFlat"]
)
def test_unknown_strings_are_refused_with_those_that_are_known(factory: str) -> None:
    with pytest.raises(ComixError, match=r"(?s)is not known.*IVF256,Flat.*HNSW32"):
        IndexChoice(factory)


@pytest.mark.parametrize(  # faiss ends the process on the first three
    ("factory", "message"),
    [
        ("HNSW0", "links an item 0, where it can be 2 to 128"),
        ("HNSW1", "links an item 1, where"),
        ("PQ8x0", "bits a code 0, where it can be 4 to 12"),
        ("HNSW100000", "links an item 100,000"),
        ("IVF4_HNSW1,Flat", "links an item 1"),
        ("IVF0,Flat", "lists 0"),
        ("PQ0", "sub-vectors 0"),
        ("PQ8x25", "bits a code 25"),
        ("PQ8x8fs", "bits a code 8, where it can be 4 only"),
    ],
)
def test_impossible_numbers_are_refused(factory: str, message: str) -> None:
    with pytest.raises(ComixError, match=message):
        IndexChoice(factory)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("IVF101,Flat", r"101 lists, the gallery only 100 items\n  try about 2 lists"),
        ("PQ8", "its codes learn 256 centroids, and the gallery has only 100 items"),
        ("OPQ8,SQ8", "its codes learn 256 centroids"),
        ("PQ7x4", r"PQ can't cut vectors of 24 numbers into 7 equal sub-vectors\n  try PQ6"),
        ("PQ99x4", r"into 99 equal.*\n  try PQ24"),
        ("PCA25,Flat", "PCA can leave 1 to 24 numbers here, not 25"),
        ("RR0,Flat", "RR can leave 1 to 24"),
        ("PCA10,PQ6x4", r"vectors of 10 numbers into 6 .*\n  try PQ5"),
        ("OPQ0,Flat", "OPQ can't cut vectors of 24 numbers into 0"),
        ("OPQ4_30,Flat", "OPQ can leave 1 to 24 numbers here, not 30"),
        ("HNSW8_PQ7", "PQ can't cut"),
    ],
)
def test_what_does_not_suit_the_gallery_is_refused(factory: str, message: str) -> None:
    with pytest.raises(ComixError, match=f"(?s)does not suit this gallery: .*{message}"):
        check_fit(factory, parse(factory), 100, 24)


def test_fewer_items_than_numbers_limit_a_pca() -> None:
    with pytest.raises(ComixError, match="PCA can leave 1 to 9 numbers"):
        check_fit("PCA10,Flat", parse("PCA10,Flat"), 9, 24)


def test_what_faiss_still_refuses_is_no_traceback(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = clusters(rng, 100)
    monkeypatch.setattr(approximate, "check_fit", lambda *_: None)
    with pytest.raises(ComixError, match=r"(?s)'IVF101,Flat': faiss can't make it of this gallery\n  \w+"):
        search_through(IndexChoice("IVF101,Flat"), gallery, gallery, 1)


@pytest.mark.parametrize("asked", ["nprobe", "nprobe=", "nprobe=0", "nprobe=x", "ht=3", "nprobe=3;efSearch=4"])
def test_search_settings_that_are_none_are_refused(asked: str) -> None:
    with pytest.raises(ComixError, match=r"(?s)is no setting.*write nprobe=32"):
        IndexChoice("IVF8,Flat", asked)


@pytest.mark.parametrize(
    ("factory", "asked"), [("Flat", "nprobe=3"), ("HNSW8", "nprobe=3"), ("IVF8,Flat", "efSearch=3")]
)
def test_search_settings_of_another_index_are_refused(factory: str, asked: str) -> None:
    with pytest.raises(ComixError, match=f"{factory} has no {asked[:-2]}"):
        IndexChoice(factory, asked)


# --- evaluate


def embeddings(rng: np.random.Generator, rows: int, labels: np.ndarray, prefix: str) -> Embeddings:
    return Embeddings(tuple(f"{prefix}{n}" for n in range(rows)), clusters(rng, rows), labels)


def test_evaluate_reports_what_the_index_found(rng: np.random.Generator) -> None:
    query = embeddings(rng, 40, rng.integers(0, 3, 40), "q")
    gallery = embeddings(rng, 300, rng.integers(0, 3, 300), "g")
    exact = evaluate(query, gallery, 5)
    rough = evaluate(query, gallery, 5, index=IndexChoice("IVF30,Flat", "nprobe=1", seed=3))
    assert rough.score("mAP") == exact.score("mAP")  # of the whole ranking
    theirs = {(one.id, near.id) for one in exact.queries for near in one.neighbours}
    ours = {(one.id, near.id) for one in rough.queries for near in one.neighbours}
    written = json.loads(json.dumps(rough.to_json(), allow_nan=False))["index"]
    assert written.pop("recall") == pytest.approx(len(theirs & ours) / 200) != 1.0
    assert written.pop("completed") > 0
    assert written == {
        "factory": "IVF30,Flat",
        "settings": {"candidates": 100, "nprobe": 1},
        "k": 5,
        "sample": 40,
        "seed": 3,
        "notes": ["the index learned 30 centroids from 300 items; 1,170 items or more are advisable"],
    }
    plain = exact.to_json()["index"]
    assert (plain["factory"], plain["recall"], plain["sample"]) == ("Flat", 1.0, 0)


def test_scores_over_the_labelled_part_come_through_the_index_too(rng: np.random.Generator) -> None:
    gallery = embeddings(rng, 300, rng.integers(-1, 3, 300), "g")
    everywhere = IndexChoice("IVF8,Flat", "nprobe=8")
    exact = evaluate(gallery, gallery, 4, same_set=True)
    assert evaluate(gallery, gallery, 4, same_set=True, index=everywhere).scores == exact.scores
    little = evaluate(gallery, gallery, 4, same_set=True, index=IndexChoice("IVF30,Flat", "nprobe=1"))
    assert little.score("precision@4") != exact.score("precision@4")


class Faiss:
    """faiss as if built for GPUs, which are CPUs here."""

    def __init__(self, real: object, refuses: bool) -> None:
        self._real, self._refuses, self.moved = real, refuses, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def get_num_gpus(self) -> int:
        return 2

    def index_cpu_to_all_gpus(self, index: object) -> object:
        self.moved += 1
        if self._refuses:
            raise RuntimeError("this type of index is not implemented on the GPU")
        return index


@pytest.mark.parametrize(("factory", "moved"), [("IVF8,Flat", 1), ("HNSW8", 0), ("PQ4", 0)])
@pytest.mark.parametrize("refuses", [True, False])
def test_lists_go_to_gpus_where_there_are_any(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, factory: str, moved: int, refuses: bool
) -> None:
    gallery = clusters(rng, 300)
    on_cpu = search_through(IndexChoice(factory), gallery[:9], gallery, 3)
    faiss = Faiss(approximate.load_faiss(), refuses)
    monkeypatch.setattr(approximate, "load_faiss", lambda: faiss)
    found = search_through(IndexChoice(factory), gallery[:9], gallery, 3)
    assert faiss.moved == moved
    np.testing.assert_array_equal(found.index, on_cpu.index)
