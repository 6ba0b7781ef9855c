"""One download's bytes: from one or more URLs into its part file. Read `transfer.py` first."""
