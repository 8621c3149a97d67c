"""Many cells of many images: tables, thumbnails, filters, and the scored folder."""
