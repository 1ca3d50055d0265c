"""The checks that come with the package: every module here makes some.

Each has a function `make_checks(parts)`, which yields a check's name, its function, and its `CheckOptions` as a dict.
"""
