"""Visualization of a method's effect on one question: kept tokens and attention per token.

`inspection.py` runs the methods, defines the document and embeds it in a self-contained HTML page
(`page.html`, `page.css` and the scripts), and `picture.py` draws it as a PNG.
"""
