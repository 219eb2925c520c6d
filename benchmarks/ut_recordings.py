"""What frozen features of UT-Interaction hold: action, or recording? Prints the figures of docs/frozen-features.md.

    python benchmarks/ut_recordings.py cache/ut

A file `<number>_<recording>_<class>.avi` names its recording: the same two people in the same spot. Needs scikit-learn
(the `dev` extra).
"""

from __future__ import annotations

import sys

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold, cross_val_predict

from comix_fast.cache import FeatureCache

STRENGTHS = (0.01, 0.1, 1.0)


def mean_features(cache: FeatureCache, domain: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[V, D] mean over clips, [V] class, [V] recording."""
    videos = cache.videos(domain, "train")
    features = np.stack([cache.features(video.id).astype(np.float64).mean(axis=0) for video in videos])
    recordings = np.array([video.id.split("/")[-1].split("_")[1] for video in videos])
    return features, np.array([video.label for video in videos]), recordings


def standardised(features: np.ndarray, by: np.ndarray) -> np.ndarray:
    return (features - by.mean(axis=0)) / (by.std(axis=0) + 1e-6)


def neighbours(features: np.ndarray, labels: np.ndarray, recordings: np.ndarray) -> tuple[float, float, float]:
    """Shares of nearest neighbours: of the same class, of the same recording, of the same class in another one."""
    unit = standardised(features, features)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    nearest = cosine.argmax(axis=1)
    elsewhere = np.where(recordings[:, None] == recordings, -np.inf, cosine).argmax(axis=1)
    return (
        float((labels[nearest] == labels).mean()),
        float((recordings[nearest] == recordings).mean()),
        float((labels[elsewhere] == labels).mean()),
    )


def main() -> None:
    cache = FeatureCache(sys.argv[1])
    domains = {domain: mean_features(cache, domain) for domain in ("source", "target")}
    for domain, (features, labels, recordings) in domains.items():
        same, own, other = (100 * share for share in neighbours(features, labels, recordings))
        print(f"{cache.names[domain]}: nearest neighbour of the same class {same:.0f} %, same recording {own:.0f} %")
        print(f"  leaving out the own recording: of the same class {other:.0f} %")
        x = standardised(features, features)
        for strength in STRENGTHS:
            model = LogisticRegression(C=strength, max_iter=5000)
            folds = [
                (cross_val_predict(model, x, labels, cv=StratifiedKFold(5, shuffle=True, random_state=seed)) == labels)
                for seed in range(3)
            ]
            grouped = cross_val_predict(model, x, labels, groups=recordings, cv=LeaveOneGroupOut()) == labels
            random = ", ".join(f"{100 * fold.mean():.1f}" for fold in folds)
            print(f"  C {strength}: random folds {random} %; recordings left out {100 * grouped.mean():.1f} %")
    for one, other in (("source", "target"), ("target", "source")):
        (x, labels, _), (z, truth, _) = domains[one], domains[other]
        for name, by in (("source's statistics", x), ("each domain's own", z)):
            models = (LogisticRegression(C=strength, max_iter=5000) for strength in STRENGTHS)
            fitted = (model.fit(standardised(x, x), labels) for model in models)
            scores = ", ".join(f"{100 * model.score(standardised(z, by), truth):.1f}" for model in fitted)
            print(f"{cache.names[one]} → {cache.names[other]}, {name}, C {STRENGTHS}: {scores} %")


if __name__ == "__main__":
    main()
