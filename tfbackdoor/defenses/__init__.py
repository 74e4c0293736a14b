"""Defences: what takes a backdoor out of a classifier."""
