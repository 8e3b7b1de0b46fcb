"""What a method did to a video while a question was answered: as data, as a page and as a picture.

`inspection.py` asks and has the document; `page.py` puts it into a self-contained HTML page, whose
front end is `page.html`, `page.css` and the scripts; `picture.py` draws it.
"""
