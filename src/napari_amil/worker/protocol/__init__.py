"""What the window and the worker process say to each other; it needs neither torch nor Qt."""
