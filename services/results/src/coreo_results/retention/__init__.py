"""The end of results: they expire, or somebody has them deleted. First the key, then all that it protected."""
