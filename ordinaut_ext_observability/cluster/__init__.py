"""The things that the processes of one installation share, apart from their counts."""
