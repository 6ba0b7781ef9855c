"""The paths of the API. Each module has a router; `api.app` puts them together."""
