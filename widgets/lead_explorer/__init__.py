"""Lead weights, attention and predictions of one ECG."""
