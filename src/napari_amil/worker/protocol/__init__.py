"""Requests and replies between the window and the worker process; it needs neither torch nor Qt."""
