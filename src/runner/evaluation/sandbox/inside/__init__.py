"""What runs inside a box, beside untrusted code: limits, the three ways to run a program, values on the wire.

Imports nothing but the standard library and itself; nothing here is trusted by the outside, but ``testing``.
"""
