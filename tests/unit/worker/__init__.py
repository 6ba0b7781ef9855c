"""Parts of the worker that need neither store nor database."""
