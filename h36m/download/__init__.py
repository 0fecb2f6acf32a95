"""Download archives: log in to the site, download, resume, verify."""
