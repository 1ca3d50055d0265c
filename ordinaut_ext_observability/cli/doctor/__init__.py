"""`doctor`: what was found, and what to paste where something is wrong. It only reads."""
