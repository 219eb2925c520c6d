"""Tests of the extra `scale`. They share the stand-ins of the tests of stages, in worker processes too."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

STAGES = Path(__file__).parent.parent / "stages"
if str(STAGES) not in sys.path:
    sys.path.append(str(STAGES))

# Ray settles how it tells friends from strangers once for each process, when it is imported.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
