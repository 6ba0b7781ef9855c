"""aria2's JSON-RPC at `/jsonrpc`, over the same permissions and the same read model as `/v1`.

`methods.py` has the table of methods, `calls.py` does what a message asks for. docs/aria2.md is for
callers.
"""
