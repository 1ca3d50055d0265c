"""Texts without the secrets they may hold."""
