"""Which colour a cell has, and how cells are drawn when there are few or very many."""
