"""Answers as people read them: in a terminal, Markdown, LaTeX, HTML. Nothing here calculates.

`words` holds what all of them say in the same way: how a number is written, what becomes of a check.
"""
