"""The status page: says whether all is well, and since when not, from what is in memory."""
