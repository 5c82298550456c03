"""Deploy plans on the command line: the directory that is kept in git, what is shown, how runs are followed."""
