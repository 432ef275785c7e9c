"""What each lead contributes to a prediction."""
