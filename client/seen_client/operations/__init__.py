"""The operations of the API, as flows (`seen_client.steps`).

Both clients have them as methods, without the first parameter: the service that the client is for.
"""
