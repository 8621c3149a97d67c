"""Named measurements of cells, and what is usual among control cells."""
