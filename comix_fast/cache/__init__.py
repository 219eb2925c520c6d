"""The feature cache: a folder of immutable HDF5 shards and a manifest that says how they came about."""

from comix_fast.cache.reader import CachedVideo, CacheSummary, FeatureCache
from comix_fast.cache.writer import CacheWriter

__all__ = ["CacheSummary", "CacheWriter", "CachedVideo", "FeatureCache"]
