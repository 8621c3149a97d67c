"""The child process that does what needs torch: JSON lines in, events and replies out.

`protocol` has the types of requests and replies and the format of the lines. Ending the process is how a
job is cancelled.
"""
