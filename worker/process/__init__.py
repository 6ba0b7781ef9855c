"""What concerns a whole process, whatever it runs."""
