"""Reasons for scores and verdicts, in words and pictures."""
