"""The child process that does what needs torch: one JSON request a line in, events and results out.

``{"event": "Ready"}`` is said once the networks can be used. A request has an ``id``, which every
answer repeats, and a ``job``, one of `serving.JOBS`. Arrays travel through files, so
that a line stays short. Killing the process is how a job is cancelled.
"""
