"""Pictures of videos: stills and moving previews for pages, contact sheets, what background mixing shows."""

from comix_fast.pictures.footage import Footage
from comix_fast.pictures.gather import Picture, Pictures, gather_pictures
from comix_fast.pictures.mixes import MixShown, mixed_frames

__all__ = ["Footage", "MixShown", "Picture", "Pictures", "gather_pictures", "mixed_frames"]
