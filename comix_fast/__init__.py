"""comix-fast: unsupervised video domain adaptation on a feature cache."""

from comix_fast.version import __version__

__all__ = ["__version__"]
