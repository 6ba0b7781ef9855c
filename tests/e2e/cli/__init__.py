"""The commands of `seen`."""
