"""Where ciphertext and statements are kept: a folder."""
