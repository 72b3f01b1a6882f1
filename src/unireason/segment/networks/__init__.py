"""Segmentation networks with learned weights: SAM, SAM 2 and what was fine-tuned from them for medicine, each frozen."""
