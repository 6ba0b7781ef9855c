"""What a person does about what does not work: the one place of these sentences."""
