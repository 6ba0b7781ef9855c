"""`seen user` and `seen key`: the accounts of the API and its page."""
