"""Checks on files that may come from anywhere, made before they are read.

Each module knows one kind of file and raises ValueError, one sentence, where
one could run code, reach outside itself, or take memory out of proportion to
its size. `docs/SECURITY.md` says what is promised.
"""
