"""The surface that Ordinaut 2.2.2 calls as `observability`, on top of our own parts.

Importing these modules needs the standard library alone and does nothing else: worker and scheduler images have
neither FastAPI nor the host's `api` package. What a call needs is imported when it is first made. Calls never raise.
"""
