"""Building blocks of the panels: forms, jobs, theme, glossary, and the worker process."""
