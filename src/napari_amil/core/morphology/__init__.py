"""Named measurements of cells, and their range among control cells."""
