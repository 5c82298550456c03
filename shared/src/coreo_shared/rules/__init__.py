"""The rule language: typed at load, compiled to Python functions, three-valued, safe for rules that tenants write."""
