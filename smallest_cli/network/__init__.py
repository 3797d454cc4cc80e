"""The one way to a socket: resolve, connect, proxy, TLS, deadlines by the wall clock, and what each took.

Every failure leaves here as one of our errors, so the transports translate no socket errors.
"""
