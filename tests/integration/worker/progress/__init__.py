"""The reporter: byte counts on their way to the store."""
