"""The tests. Each level mirrors the packages of the product; `support` has what the tests share.

Levels: `unit` and `property` (pure), `integration` (in the test's process, on real servers), `e2e` (the
processes a user starts), `chaos` (those processes, broken at random).
"""
