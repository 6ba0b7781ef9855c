"""Responses, addresses, decoding and libcurl, without an origin."""
