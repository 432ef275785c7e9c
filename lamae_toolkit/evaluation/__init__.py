"""ICD-10 codes from a frozen model."""
