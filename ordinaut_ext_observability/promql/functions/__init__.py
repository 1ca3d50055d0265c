"""The functions of the query language."""
