"""Classifiers of the two papers, built from plain Keras layers only."""
