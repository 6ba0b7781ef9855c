"""What tests of `seen_client` share."""
