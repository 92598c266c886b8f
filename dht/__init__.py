"""A Mainline-compatible DHT node (BEP 5, 32 in part, 42, 43, 44): a sans-IO core and a trio shell."""
