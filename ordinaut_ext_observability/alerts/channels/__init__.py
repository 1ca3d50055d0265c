"""The ways to people and programs: each knows how one notification looks there, and what its failures mean."""
