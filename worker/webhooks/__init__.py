"""Making one delivery: signatures and their secrets, the HTTP request, the program of SEEN_ON_END.

What is due, and what follows from a result, is decided in `tasks/webhooks`.
"""
