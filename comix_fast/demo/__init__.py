"""Two small domains of drawn people who act, for `comix demo` and for tests that need real video files."""

from comix_fast.demo.domains import CLASSES, FPS, N_FRAMES, SIZE, make_domains

__all__ = ["CLASSES", "FPS", "N_FRAMES", "SIZE", "make_domains"]
