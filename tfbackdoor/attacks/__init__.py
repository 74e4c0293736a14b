"""Backdoor attacks: triggers and poisoned training sets."""
