"""Statistics of the named measurements of control cells and the distance to them."""
