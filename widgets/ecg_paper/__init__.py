"""An ECG as on paper."""
