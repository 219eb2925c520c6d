"""Pages one can open from a mail attachment: what a run came to, who is near whom."""
