"""Qwen2.5-VL: checkpoint, token ids, positions and visual features. transformers is imported here and nowhere else."""
