"""The station: cameras in, ciphertext out, cameras wiped."""
