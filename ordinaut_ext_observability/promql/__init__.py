"""Prometheus's query language, version 3: parsed by the library `promql-parser`, evaluated here."""
