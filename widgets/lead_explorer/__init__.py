"""On which leads the prediction for one ECG rests, its shares in the heart token, and attention."""
