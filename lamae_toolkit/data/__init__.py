"""A cohort: many ECGs with their patients and codes."""
