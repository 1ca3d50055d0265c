"""Ids that follow a request: made, checked, carried through its work."""
