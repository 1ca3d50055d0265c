"""Files derived from what the code defines: manifests, and tables in the documentation."""
