"""What commands find about a real store."""
