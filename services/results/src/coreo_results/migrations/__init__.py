"""Schema revisions, in SQL. They expand first and contract later, so that the version before keeps working."""
