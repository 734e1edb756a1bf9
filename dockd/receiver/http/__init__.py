"""The receiver's protocol: tus, receipts, who may, what is refused."""
