"""Files become Cases, Cases become the pictures that a network sees. Imports nothing heavier than numpy until a file is read."""

from .present import native_region, published_serialize, serialize
from .reader import Limits, ReadOptions, read

__all__ = ["Limits", "ReadOptions", "native_region", "published_serialize", "read", "serialize"]
