"""Files become Cases, Cases become the pictures that a network sees. Imports nothing heavier than numpy until a file is read."""

from .limits import Limits
from .options import ReadOptions
from .reader import read
from .serialize import native_region, published_serialize, serialize

__all__ = ["Limits", "ReadOptions", "native_region", "published_serialize", "read", "serialize"]
