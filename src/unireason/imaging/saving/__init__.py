"""Masks leave as files that other programs lay over the source: NIfTI, NRRD, MetaImage, PNG and DICOM."""

from .dicom_report import write_dicom_report
from .dicom_segmentation import write_dicom_seg
from .masks import write_mask

__all__ = ["write_dicom_report", "write_dicom_seg", "write_mask"]
