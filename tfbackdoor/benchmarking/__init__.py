"""A grid of attacks, defences, seeds and shares of clean data, resumable."""
