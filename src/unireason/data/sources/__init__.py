"""Where masks come from: one class reads every layout of folders, a row of a table each; phantoms are generated."""

from __future__ import annotations

NAMES = ("phantom", "pair", "nnunet", "msd", "amos", "totalsegmentator", "sa-med2d", "m3d-seg", "slake")
"""Every source that ``base.open_source`` knows."""
