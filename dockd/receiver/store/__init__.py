"""Where ciphertext and statements are kept: a protocol, and a folder on disk behind it."""
