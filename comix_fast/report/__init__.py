"""Pages one can open from a mail attachment: what a run came to, who is near whom."""

MAX_MB: float = 16
"""What a page may take unless --max-size says otherwise, in 10⁶ bytes: what mails still carry."""
