"""The operations of the API, as flows (`seen_client.steps`); both clients have them as methods."""
