"""The rule language: typed at load, compiled to closures, three-valued, safe for rules that tenants write."""
