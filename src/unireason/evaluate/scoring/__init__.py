"""Scoring: what an answer says, whether it is right, and how sure the figures made of many answers are."""
