"""The service that the recovery machine drives, without a transfer and without waiting.

`service` has the state and the steps, `invariants` what must always hold; `workers` are its processes.
"""
