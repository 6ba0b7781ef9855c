"""Examples and commands of the documents, run as they stand there."""
