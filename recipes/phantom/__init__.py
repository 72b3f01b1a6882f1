"""The base model: a small Qwen2.5-VL from nothing, with its own lessons in a few fixed wordings, asked about phantom scenes.

What a tiny network can learn on one core sets the vocabulary here. The trainers next door start from what comes out.
"""
