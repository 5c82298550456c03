"""Findings as the api reads them: filtered and counted in clear, decrypted only where a page touches a chunk."""
