"""Download archives: log in to the site, fetch, resume, verify."""
