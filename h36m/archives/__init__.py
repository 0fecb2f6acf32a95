"""What an archive is, for the download and the extract scripts alike: its bytes and its members."""
