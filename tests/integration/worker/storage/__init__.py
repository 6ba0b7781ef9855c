"""File systems that lack something or fail, and the order of writes."""
