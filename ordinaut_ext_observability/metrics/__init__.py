"""Counting and rendering: families of series, the registry that holds them, the text they are scraped as."""
