"""The statements, a file each, with why they are as they are."""
