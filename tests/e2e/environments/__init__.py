"""Commands in environments in which something is wrong."""
