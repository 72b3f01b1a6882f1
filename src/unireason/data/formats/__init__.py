"""Layouts that others publish or train from: UniMed-CoT and U-MRG-14K (read and written), exports to trainers and evaluators."""

from __future__ import annotations

READABLE = ("unimed-cot", "umrg")
WRITABLE = (*READABLE, "llamafactory", "verl", "vlmevalkit")
