"""The status page: what it shows, its plots, and the document that a browser gets."""
