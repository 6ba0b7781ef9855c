"""The vocabulary: jobs, URLs, hosts, ids."""
