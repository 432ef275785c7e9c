"""The page of lamae app."""
