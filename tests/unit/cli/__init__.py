"""What the command line parses, shows and locks."""
