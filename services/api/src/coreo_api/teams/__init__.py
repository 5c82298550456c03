"""Teams and the tokens by which their people and programs show who they are."""
