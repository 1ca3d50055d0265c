"""What this package costs, beside what people use instead: every budget of the design that can be measured now."""
