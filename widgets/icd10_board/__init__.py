"""ROC, calibration and thresholds of a code."""
