"""The node program: hosts rooms that it cannot read, for clients and beside its peers (never imports `mls`)."""
