"""A cohort as the model sees it."""
