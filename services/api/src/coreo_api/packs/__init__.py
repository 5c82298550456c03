"""Rule packs of teams."""
