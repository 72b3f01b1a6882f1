"""How well does a model answer the questions of a suite?"""
