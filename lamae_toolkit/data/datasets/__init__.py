"""Cohorts: each module turns its source into a store."""
