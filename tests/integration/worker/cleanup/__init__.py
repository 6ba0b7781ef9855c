"""What is removed from the disk, and what is not."""
