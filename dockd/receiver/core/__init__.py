"""What becomes of uploads: received, verified, signed for."""
