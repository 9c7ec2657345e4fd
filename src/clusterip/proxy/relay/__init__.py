"""The process that carries the bytes of mode userspace; it imports nothing but the standard library and itself."""
