"""The receiver's HTTP: tus, receipts, access, and the core's errors as problems."""
