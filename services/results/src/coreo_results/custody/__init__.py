"""What a team, and each of its plans, wants of how long its results are kept."""
