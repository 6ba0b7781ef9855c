"""`seen user`, `seen key` and `seen webhook`: what belongs to users of the API and its page."""
