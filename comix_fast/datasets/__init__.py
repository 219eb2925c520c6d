"""Which videos, which labels, which split, which domain."""

from comix_fast.datasets.folders import load_folders
from comix_fast.datasets.model import Dataset, Domain, Origin, Role, Split, Video
from comix_fast.datasets.naming import FRAME_SUFFIXES, VIDEO_SUFFIXES, natural_key
from comix_fast.datasets.presence import Missing, check_files, find_missing
from comix_fast.datasets.published import PRESETS, load_preset
from comix_fast.datasets.toml_file import load_toml

__all__ = [
    "FRAME_SUFFIXES",
    "PRESETS",
    "VIDEO_SUFFIXES",
    "Dataset",
    "Domain",
    "Missing",
    "Origin",
    "Role",
    "Split",
    "Video",
    "check_files",
    "find_missing",
    "load_folders",
    "load_preset",
    "load_toml",
    "natural_key",
]
