"""Deployments, as one installation knows them."""
