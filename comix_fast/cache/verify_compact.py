"""A compacted cache, checked: the JSON in it, and what is checked of shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py

from comix_fast.cache.compact_file import COMPACT, DOCUMENTS
from comix_fast.cache.format import ENCODING_TYPE, ENCODING_VERSION, check_encoding
from comix_fast.cache.reading import HDF5_ERRORS, open_array
from comix_fast.cache.verify_clips import DrawMix
from comix_fast.cache.verify_documents import check_dataset, check_failures, check_manifest
from comix_fast.cache.verify_shards import add_extracted, check_views
from comix_fast.cache.verify_videos import Scope, check_table, opened
from comix_fast.errors import CacheError


def check_compact(path: Path, scope: Scope, draw: DrawMix | None) -> None:
    """The whole file; fills in what of the scope a folder has in files of their own."""
    ledger, name = scope.ledger, path.name
    with opened(path, name, COMPACT, ledger) as file:
        if file is None:
            return
        try:
            documents = {part: _document(file, part, path, scope) for part in DOCUMENTS}
            scope.key, scope.recipe = check_manifest(documents["manifest"], name, ledger)
            scope.lists = check_dataset(documents["dataset"], name, ledger)
            if (failed := documents["failures"]) is not None:
                check_failures(failed.get("failures"), name, ledger)
            table = check_table(file, path, name, scope, sparse=True)
            add_extracted(table, scope)
            check_views(file, table, _views(file, name, scope), scope, draw)
        except CacheError as error:
            ledger.refuse(name, path, error)
        except HDF5_ERRORS as error:
            ledger.add(name, f"HDF5 can't make sense of it: {error!s:.200}")


def _views(file: h5py.File, name: str, scope: Scope) -> list[str]:
    found = set(file["views"])
    if scope.recipe is not None:
        unmixed, mixed = set(scope.recipe.views.unmixed), set(scope.recipe.views.mixed)
        odd = sorted((unmixed - found) | (found - unmixed - mixed))
        scope.ledger.require(not odd, name, "views are missing, or are not of the recipe", odd)
    return sorted(found)


def _document(file: h5py.File, part: str, path: Path, scope: Scope) -> dict[str, Any] | None:
    scope.ledger.counts.invariants += 1
    element = open_array(file, part, str(path), "string")
    try:
        value = json.loads(element.asstr()[()])
        if isinstance(value, dict):
            found = value.get(ENCODING_TYPE), value.get(ENCODING_VERSION)
            check_encoding(*found, DOCUMENTS[part], f"{path}:/{part}")
            return value
        scope.ledger.add(path.name, f"/{part} is no object")
    except (ValueError, RecursionError) as error:
        scope.ledger.add(path.name, f"/{part} is no JSON: {error!s:.200}")
    return None
