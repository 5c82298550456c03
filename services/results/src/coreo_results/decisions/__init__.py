"""What all decisions of people have in common: how they are sealed, and the log of them."""
