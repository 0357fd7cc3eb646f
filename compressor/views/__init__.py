"""What people see, whatever the command: the terminal's screen, number formats, pages and SVG figures.

In: plain dicts and numbers. Out: rich renderables, HTML, SVG. No verb of the command line is known here.
Start with screen.py; pages.py renders the templates beside it.
"""
