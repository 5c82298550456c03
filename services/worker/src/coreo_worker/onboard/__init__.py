"""Makes a customer's role with requests that the api has signed: the keys to open them, and the process that does."""
