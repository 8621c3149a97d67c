"""Views of a scored cohort: tables, thumbnails, filters, clusters and distributions."""
