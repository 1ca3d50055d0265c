"""Alert rules, their states, and what is said of them."""
