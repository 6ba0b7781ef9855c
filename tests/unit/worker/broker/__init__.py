"""Messages and queues as a worker reads them."""
