"""Masks leave as files that other programs lay over the source: NIfTI, NRRD, MetaImage, PNG and DICOM."""

from .masks import write_mask

__all__ = ["write_mask"]
