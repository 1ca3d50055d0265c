"""Spans over OTLP: where the time of a request, and of the run it leads to, goes. Imported only when it is on."""
